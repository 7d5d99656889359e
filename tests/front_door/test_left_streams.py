"""Real clients that leave their streams in the middle: the journal says what the engine itself counts.

Every SDK's streams, of an engine of each kind that a gateway can ask for the length of a prompt: vLLM and llama.cpp by
their tokenizers, Ollama by the request once more.
"""

import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import anthropic
import pytest

from mrproxy.link.records import JournalRecord
from tests.front_door.gateway import (
    KEY,
    Gateway,
    backend_table,
    eventually,
    key_table,
    mock_control,
    run_gateway,
    run_mock,
)

pytestmark = [pytest.mark.sdk, pytest.mark.slow]

KINDS = ("vllm", "llamacpp", "ollama")
SAID = "Grüße! Say something long, and call nobody. " * 20
TOOL = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FUNCTION = {"name": "get_weather", "description": "The weather.", "parameters": TOOL}
MESSAGES = [{"role": "user", "content": SAID}]


@dataclass(frozen=True)
class Street:
    gateway: Gateway
    urls: dict[str, str]

    def truth_of(self, kind: str, request_id: str) -> dict[str, Any]:
        """What the engine says of a request, once it has noticed that nobody listens."""

        def find() -> dict[str, Any] | None:
            found: Any = mock_control(self.urls[kind], f"requests?id={request_id}")
            return found[-1] if found and found[-1].get("state") == "aborted" else None

        return eventually(find, f"the engine does not know that {request_id} was left")


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Street]:
    directory = tmp_path_factory.mktemp("left-streams")
    with ExitStack() as stack:
        urls = {
            kind: stack.enter_context(run_mock(kind, directory, f"--model={kind}-mock", "--max-num-seqs=64"))
            for kind in KINDS
        }
        tables = [key_table(KEY, "ada"), *(backend_table(kind, kind, url) for kind, url in urls.items())]
        config = "\n".join(['aborted_prompts = "always"', *tables])
        yield Street(stack.enter_context(run_gateway(directory, config)), urls)


# Each opens a stream, hears three pieces of it, and leaves


def take_three(pieces: Iterable[bool]) -> None:
    heard = 0
    for piece in pieces:
        heard += piece
        if heard == 3:
            return
    raise AssertionError("the stream ended by itself")


def leave_chat(gateway: Gateway, model: str, request_id: str) -> None:
    tools: Any = [{"type": "function", "function": FUNCTION}]
    with (
        gateway.open_openai() as client,
        client.chat.completions.create(
            model=model, messages=MESSAGES, tools=tools, max_tokens=5000, stream=True,
            extra_headers={"X-Request-Id": request_id},
        ) as stream,
    ):  # fmt: skip
        take_three(bool(chunk.choices and chunk.choices[0].delta.content) for chunk in stream)


def leave_completion(gateway: Gateway, model: str, request_id: str) -> None:
    with (
        gateway.open_openai() as client,
        client.completions.create(
            model=model, prompt=SAID, max_tokens=5000, stream=True, extra_headers={"X-Request-Id": request_id}
        ) as stream,
    ):
        take_three(bool(chunk.choices and chunk.choices[0].text) for chunk in stream)


def leave_response(gateway: Gateway, model: str, request_id: str) -> None:
    with (
        gateway.open_openai() as client,
        client.responses.create(
            model=model,
            max_output_tokens=5000,
            input=SAID,
            instructions="Be long.",
            stream=True,
            extra_headers={"X-Request-Id": request_id},
        ) as stream,
    ):
        take_three(event.type == "response.output_text.delta" for event in stream)


def leave_message(gateway: Gateway, model: str, request_id: str) -> None:
    tools: Any = [{"name": "get_weather", "input_schema": TOOL}]
    http = anthropic.DefaultHttpxClient(trust_env=False)
    with (
        anthropic.Anthropic(base_url=f"{gateway.url}/anthropic", api_key=KEY, http_client=http) as client,
        client.messages.create(
            model=model, system="Be long.", messages=MESSAGES, tools=tools, max_tokens=5000, stream=True,
            extra_headers={"X-Request-Id": request_id},
        ) as stream,
    ):  # fmt: skip
        take_three(event.type == "content_block_delta" for event in stream)


def leave_ollama_chat(gateway: Gateway, model: str, request_id: str) -> None:
    tools: Any = [{"type": "function", "function": FUNCTION}]
    with gateway.open_ollama() as client:
        client._client.headers["x-request-id"] = request_id
        parts = client.chat(model=model, messages=MESSAGES, tools=tools, stream=True, options={"num_predict": 5000})
        take_three(bool(part.message.content) for part in parts)
        parts.close()


def leave_generation(gateway: Gateway, model: str, request_id: str) -> None:
    with gateway.open_ollama() as client:
        client._client.headers["x-request-id"] = request_id
        parts = client.generate(model=model, prompt=SAID, system="Be long.", stream=True, options={"num_predict": 5000})
        take_three(bool(part.response) for part in parts)
        parts.close()


LEAVERS: list[Callable[[Gateway, str, str], None]] = [
    leave_chat, leave_completion, leave_response, leave_message, leave_ollama_chat, leave_generation,
]  # fmt: skip


def counts_of(record: JournalRecord) -> tuple[int | None, int | None]:
    return record.prompt_tokens, record.completion_tokens


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("leave", LEAVERS, ids=lambda leave: leave.__name__)
def test_the_journal_has_the_prompt_as_the_engine_counts_it(
    street: Street, leave: Callable[[Gateway, str, str], None], kind: str
) -> None:
    request_id = uuid.uuid4().hex
    leave(street.gateway, f"{kind}-mock", request_id)
    truth = street.truth_of(kind, request_id)
    record = street.gateway.record_of(request_id)
    assert (record.code, record.usage_state, record.backend) == ("client_departed", "counted", kind)
    assert record.prompt_tokens == truth["prompt_tokens"]
    # The engine may have made a token more than could be delivered before it knew.
    assert 3 <= (record.completion_tokens or 0) <= truth["completion_tokens"]


def test_the_engines_next_answer_says_the_same_of_the_same_prompt(street: Street) -> None:
    """The count is the one that an answer to the end would have been billed."""
    asked = {"model": "vllm-mock", "messages": MESSAGES, "max_tokens": 5000, "stream": True}
    with street.gateway.open_openai() as client:
        raw = client.chat.completions.with_raw_response.create(**asked)
        stream = raw.parse()
        take_three(bool(chunk.choices and chunk.choices[0].delta.content) for chunk in stream)
        stream.close()
        whole = client.chat.completions.create(**asked | {"max_tokens": 1, "stream": False})
    assert street.gateway.record_of(raw.headers["x-request-id"]).prompt_tokens == whole.usage.prompt_tokens
