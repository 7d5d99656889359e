"""/api/generate both ways. Shapes: ollama docs/api.md and server/routes.go, v0.17.4 (February 2026)."""

import contextlib
import json
from collections.abc import Callable
from typing import Any

import msgspec
import ollama
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.canonical.conversation import (
    FormatKind,
    Image,
    ResponseFormat,
    Sampling,
    TextRequest,
    ThinkingWish,
)
from mrproxy.canonical.deltas import End, Finish, FinishReason
from mrproxy.dialects.codec import AnswerContext, Target
from mrproxy.dialects.ollama.generate import (
    TextDocumentDecoder,
    TextDocumentEncoder,
    TextStreamDecoder,
    TextStreamEncoder,
    decode_text,
    encode_text,
)
from mrproxy.errors import ClientError
from tests.dialects.ollama import golden
from tests.dialects.ollama.wishes import PNG, TEXTS
from tests.fuzzing import fuzz, mutated

TARGET = Target("ollama", "gpt-oss")
CONTEXT = AnswerContext("r-1", "llama3.2", 1691164339.0)


def asked(**more: Any) -> TextRequest:
    return decode_text(json.dumps({"model": "m"} | more).encode())


def told(*prompts: Any, raw: bool = False, **more: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    encoded = encode_text(TextRequest(model="m", prompts=prompts, raw=raw, **more), TARGET)
    return json.loads(encoded.body), encoded.warnings


def refused(*prompts: Any, **more: Any) -> str | None:
    with pytest.raises(ClientError) as caught:
        told(*prompts, **more)
    assert caught.value.status == 400
    return caught.value.param


def test_the_least_that_can_be_asked_streams() -> None:
    assert asked() == TextRequest(model="m", prompts=("",), raw=False, streams=True)
    assert told("hi") == ({"model": "gpt-oss", "prompt": "hi", "stream": False}, ())


def test_every_field_has_its_place() -> None:
    request = asked(
        prompt="What is it?", suffix="s", images=[PNG], format="json", system="Be brief.", template="{{ .Prompt }}",
        stream=False, raw=False, keep_alive=0, context=[1, 2], think=False, options={"num_ctx": 64}, logprobs=True,
        shift=True, width=64,
    )  # fmt: skip
    assert request == TextRequest(
        model="m",
        prompts=("What is it?",),
        raw=False,
        suffix="s",
        system="Be brief.",
        template="{{ .Prompt }}",
        context=(1, 2),
        images=(Image("image/png", PNG),),
        sampling=Sampling(logprobs=True),
        response_format=ResponseFormat(FormatKind.JSON_OBJECT),
        thinking=ThinkingWish(enabled=False),
        keep_alive=msgspec.Raw(b"0"),
        context_length=64,
        extras={"shift": msgspec.Raw(b"true"), "width": msgspec.Raw(b"64")},
    )


@fuzz(50)
@given(TEXTS)
def test_what_the_dialect_can_say_comes_back_unchanged(request: TextRequest) -> None:
    encoded = encode_text(request, TARGET)
    assert encoded.warnings == ()
    assert decode_text(encoded.body) == request


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": ["a"]}, "prompt"),
        ({"images": ["http://example.org/a.png"]}, "images"),
        ({"context": ["a"]}, "context[0]"),
        ({"raw": True, "system": "s"}, "raw"),
        ({"raw": True, "context": [1]}, "raw"),
        ({"raw": "yes"}, "raw"),
    ],
)
def test_mistakes_are_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(ClientError) as caught:
        asked(**fields)
    assert caught.value.param == param


def test_a_raw_prompt_stays_raw_but_infilling_needs_its_template() -> None:
    assert told("a", raw=True)[0] == {"model": "gpt-oss", "prompt": "a", "raw": True, "stream": False}
    assert told("a", raw=True, suffix="b")[0] == {"model": "gpt-oss", "prompt": "a", "suffix": "b", "stream": False}


def test_what_changes_the_meaning_is_refused() -> None:
    assert refused() == refused("a", "b") == refused((1, 2)) == "prompt"
    assert refused("a", echo=True) == "echo"
    assert refused("a", sampling=Sampling(n=3)) == "n"
    assert refused("a", images=(Image(url="https://example.org/a.png"),)) == "images"


def test_what_does_not_is_warned_of() -> None:
    body, warnings = told("a", best_of=2, echo=False, extras={"width": msgspec.Raw(b"64")}, user="u")
    assert body == {"model": "gpt-oss", "prompt": "a", "stream": False}
    assert warnings == (
        "best_of is ignored: Ollama has none",
        "user is ignored: Ollama has none",
        "width is ignored: Ollama has no such field",
    )


def test_what_the_sdk_sends_is_understood() -> None:
    sent = ollama._types.GenerateRequest(
        model="m", prompt="a", suffix="", system="", template="", context=[], raw=False, images=[], think=None
    ).model_dump(exclude_none=True)
    assert decode_text(json.dumps(sent).encode()) == TextRequest(model="m", prompts=("a",), raw=False, streams=True)


def test_streams_come_back_unchanged() -> None:
    deltas = TextStreamDecoder("r").receive_data(golden.GENERATE_STREAM)
    encoder = TextStreamEncoder(CONTEXT)
    assert TextStreamDecoder("r").receive_data(encoder.send(deltas) + encoder.finish()) == deltas


def test_documents_come_back_unchanged_and_the_sdk_reads_them() -> None:
    decoder = TextDocumentDecoder("r")
    decoder.receive_data(golden.GENERATE_DOCUMENT)
    deltas = decoder.finish()
    encoder = TextDocumentEncoder(CONTEXT)
    encoder.send(deltas)
    told = encoder.finish()
    again = TextDocumentDecoder("r")
    again.receive_data(told)
    assert again.finish()[1:] == deltas[1:]
    read = ollama.GenerateResponse(**json.loads(told))
    assert (read.response, read.context, read.eval_count) == ("The sky is blue.", [1, 2, 3], 290)


def test_an_unload_is_told_without_counts() -> None:
    encoder = TextDocumentEncoder(CONTEXT)
    encoder.send([Finish(FinishReason.UNLOAD), End()])
    assert json.loads(encoder.finish()) == {
        "model": "llama3.2", "created_at": "2023-08-04T15:52:19.000000000Z", "response": "", "done": True,
        "done_reason": "unload",
    }  # fmt: skip


# The fuzzer. Invariant: whatever a body holds, it is a request or a ClientError, and what was decoded can be
# encoded or is refused.

EXAMPLES = [
    b'{"model":"m","prompt":"a","suffix":"b","images":["iVBORw0KGgo="],"context":[1,2],"think":true}',
    b'{"model":"m","prompt":"a","raw":true,"stream":false,"options":{"stop":"x","seed":1},"format":{"type":"object"}}',
]
SNIPPETS = [b"null", b"{}", b"[", b'"', b"\xff", b"1e999", b"-", b'"system":"x",', b"\\ud800"]


def fuzz_request(data: bytes) -> None:
    with contextlib.suppress(ClientError):
        encode_text(decode_text(data), Target("ollama", "m", 64))


@fuzz(75)
@given(mutated(EXAMPLES, SNIPPETS) | st.binary(max_size=40))
def test_nothing_but_client_errors(data: bytes) -> None:
    fuzz_request(data)


FUZZ_TARGETS: dict[str, Callable[[bytes], None]] = {"ollama generate request": fuzz_request}
