"""A departure at every single wait of a translated request, once. Nothing may stay behind."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from trio.testing import wait_all_tasks_blocked

from tests.fakes.behaviours import answer, answer_status, reset, sized
from tests.fakes.caller import Caller, request
from tests.fakes.gateway import Gateway
from tests.fakes.loop_engine import Behaviour, FakeEngine, run_engine
from tests.fakes.speaking import DIALECTS, begins, speaks
from tests.test_cancellation import Scenario, depart_everywhere
from tests.test_images import PNG, run_site
from tests.test_images import answer as page

pytestmark = pytest.mark.slow


def in_turn(*behaviours: Behaviour) -> Behaviour:
    """One after the other, at whatever engine."""
    coming = iter([*behaviours, *[speaks("hello")] * 5])
    return lambda turn: next(coming)(turn)


async def a_document(gateway: Gateway, caller: Caller, a: FakeEngine, b: FakeEngine) -> None:
    await caller.send(DIALECTS["responses"].ask())
    assert (await caller.read_answer()).status == 200


async def a_stream(gateway: Gateway, caller: Caller, a: FakeEngine, b: FakeEngine) -> None:
    await caller.send(DIALECTS["anthropic"].ask(stream=True))
    assert DIALECTS["anthropic"].hear(await caller.read_answer(), stream=True).text == "onetwo"


async def a_new_connection(gateway: Gateway, caller: Caller, a: FakeEngine, b: FakeEngine) -> None:
    gateway.backend("engine-a").pool.close_idle()
    gateway.backend("engine-b").pool.close_idle()
    await a_stream(gateway, caller, a, b)


async def a_retry_on_another_kind(gateway: Gateway, caller: Caller, a: FakeEngine, b: FakeEngine) -> None:
    a.behaviour = b.behaviour = in_turn(answer_status(503))
    await caller.send(DIALECTS["ollama"].ask(stream=True))
    assert (await caller.read_answer()).status == 200


async def a_stale_connection(gateway: Gateway, caller: Caller, a: FakeEngine, b: FakeEngine) -> None:
    a.behaviour = b.behaviour = in_turn(answer(closes=True))
    await caller.send(DIALECTS["responses"].ask())
    assert (await caller.read_answer()).status == 200


async def nonsense_and_a_retry(gateway: Gateway, caller: Caller, a: FakeEngine, b: FakeEngine) -> None:
    a.behaviour = b.behaviour = in_turn(answer(sized(b"<html>")))
    await caller.send(DIALECTS["responses"].ask(stream=True))
    assert (await caller.read_answer()).status == 200


async def a_foreign_refusal(gateway: Gateway, caller: Caller, a: FakeEngine, b: FakeEngine) -> None:
    a.behaviour = b.behaviour = in_turn(answer_status(400))
    await caller.send(DIALECTS["responses"].ask())
    assert (await caller.read_answer()).status == 400


async def an_error_in_the_stream(gateway: Gateway, caller: Caller, a: FakeEngine, b: FakeEngine) -> None:
    a.behaviour = b.behaviour = in_turn(begins("one", then=reset))
    await caller.send(DIALECTS["responses"].ask(stream=True))
    assert DIALECTS["responses"].hear(await caller.read_answer(), stream=True).error
    await caller.read_to_end()


async def what_cannot_be_said(gateway: Gateway, caller: Caller, a: FakeEngine, b: FakeEngine) -> None:
    await caller.send(DIALECTS["responses"].ask(max_output_tokens="many"))
    assert (await caller.read_answer()).status == 400


async def a_checked_output(gateway: Gateway, caller: Caller, a: FakeEngine, b: FakeEngine) -> None:
    wanted = {"type": "json_object"}
    await caller.send(DIALECTS["openai"].ask("X-Mrproxy-Validate: 1", response_format=wanted))
    assert (await caller.read_answer()).status == 502


async def a_conversation(gateway: Gateway, caller: Caller, a: FakeEngine, b: FakeEngine) -> None:
    await caller.send(DIALECTS["responses"].ask())
    response_id = (await caller.read_answer()).json["id"]
    await caller.send(DIALECTS["responses"].ask(previous_response_id=response_id))
    await wait_all_tasks_blocked()
    assert (await caller.read_answer()).status == 200
    await caller.send(request(f"/v1/responses/{response_id}", method="DELETE"))
    assert (await caller.read_answer()).status == 200


SCENARIOS: list[Scenario] = [
    a_document, a_stream, a_new_connection, a_retry_on_another_kind, a_stale_connection, nonsense_and_a_retry,
    a_foreign_refusal, an_error_in_the_stream, what_cannot_be_said, a_checked_output, a_conversation,
]  # fmt: skip


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
async def test_a_departure_at_any_wait_of_a_translation_leaves_nothing_behind(
    tmp_path: Path, scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with run_engine("engine-a", "vllm") as a, run_engine("engine-b", "ollama") as b:
        await depart_everywhere(tmp_path, scenario, monkeypatch, a, b, speaks("one", "two"))


def with_pictures(url: Callable[[str], str]) -> bytes:
    images = [{"type": "image", "source": {"type": "url", "url": url(path)}} for path in ("/a", "/b")]
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": images}]}
    return request("/v1/messages", json.dumps(body).encode())


async def test_a_departure_at_any_wait_while_images_are_fetched_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with run_site() as site, run_engine("engine-a", "ollama") as a, run_engine("engine-b", "ollama") as b:
        site.pages = {"/a": page(PNG), "/b": page(PNG)}

        async def pictures(gateway: Gateway, caller: Caller, a: FakeEngine, b: FakeEngine) -> None:
            await caller.send(with_pictures(site.url))
            assert (await caller.read_answer()).status == 200

        networks = {"image_allow_networks": "127.0.0.1/32"}
        await depart_everywhere(tmp_path, pictures, monkeypatch, a, b, speaks("one"), **networks)
