"""Two engines behind one URL, one of them killed under load."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx
import openai
import pytest

from bench.children import wait_until
from tests.real_engine.conftest import MODEL, Gateway

pytestmark = [pytest.mark.real_engine, pytest.mark.timeout(180)]

CLIENTS, REQUESTS_PER_CLIENT, ANSWER_TOKENS = 6, 12, 60
KILL_AFTER = 12  # answers


@dataclass
class Outcome:
    """How one request went. `tokens` counts what its client had before it ended."""

    stream: bool
    tokens: int = 0
    backend: str = ""
    error: str = ""


def ask(client: openai.OpenAI, stream: bool) -> Outcome:
    outcome = Outcome(stream)
    messages = [{"role": "user", "content": "Say something."}]
    try:
        raw = client.chat.completions.with_raw_response.create(
            model=MODEL, messages=messages, max_tokens=ANSWER_TOKENS, stream=stream
        )
        outcome.backend = raw.headers["x-mrproxy-backend"]
        answer = raw.parse()
        if stream:
            for chunk in answer:
                outcome.tokens += bool(chunk.choices and chunk.choices[0].delta.content)
        else:
            outcome.tokens = answer.usage.completion_tokens
    except (openai.APIError, httpx.HTTPError) as exc:
        outcome.error = f"{type(exc).__name__}: {exc}"
    return outcome


def test_requests_without_a_first_byte_survive_the_death_of_an_engine(pair: Gateway) -> None:
    outcomes: list[Outcome] = []
    enough = threading.Event()

    def drive(index: int) -> None:
        with pair.open_client() as client:
            for number in range(REQUESTS_PER_CLIENT):
                outcomes.append(ask(client, stream=(index + number) % 2 == 0))
                if len(outcomes) >= KILL_AFTER:
                    enough.set()

    with ThreadPoolExecutor(CLIENTS) as pool:
        running = [pool.submit(drive, index) for index in range(CLIENTS)]
        assert enough.wait(60)
        pair.engines[0].child.kill()
        before_the_kill = len(outcomes)
        for future in running:
            future.result()

    assert len(outcomes) == CLIENTS * REQUESTS_PER_CLIENT
    assert {outcome.backend for outcome in outcomes[:before_the_kill]} == {"engine-a", "engine-b"}
    # Only a stream that had begun may end badly: its engine works at one request at a time, so at most one did.
    failed = [outcome for outcome in outcomes if outcome.error or outcome.tokens != ANSWER_TOKENS]
    # (It may have begun with the role alone: an event, and no token yet.)
    assert all(outcome.stream for outcome in failed), failed
    assert len(failed) <= 1
    late = outcomes[-CLIENTS:]
    assert {outcome.backend for outcome in late} == {"engine-b"}


def test_a_dead_engine_is_reported_as_such(pair: Gateway) -> None:
    pair.engines[0].child.kill()
    with pair.open_client() as client:
        assert not ask(client, stream=False).error
    wait_until(
        pair.child,
        lambda: states(pair) == {"engine-a": "down", "engine-b": "routable"},
        seconds=15,  # two probe intervals, and a probe's own deadline
        what="/status does not show the dead engine",
    )
    assert httpx.get(f"{pair.url}/readyz", trust_env=False).status_code == 200


def states(gateway: Gateway) -> dict[str, str]:
    status = httpx.get(f"{gateway.url}/status", trust_env=False).json()
    return {backend["name"]: backend["state"] for backend in status["backends"]}
