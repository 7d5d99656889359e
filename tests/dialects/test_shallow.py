"""The shallow decode: the few fields that matter, each mistake by its name, and splices that change nothing else."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.canonical.request import MEDIA, Operation, Request, Shape
from mrproxy.dialects.shallow import ask_for_usage, decode_ollama, decode_openai, rename_model
from mrproxy.errors import ClientError
from tests.fuzzing import fuzz, mutated

CHAT = b'{"model":"m","messages":[{"role":"user","content":"hi"}]'


def chat(more: bytes = b"") -> Request:
    return decode_openai(CHAT + more + b"}", Operation.CHAT)


def ollama(body: bytes, operation: Operation = Operation.CHAT) -> Request:
    return decode_ollama(body, operation)


def test_what_needs_no_change_goes_through_byte_for_byte() -> None:
    body = CHAT + b' , "x":1.50,"stream" : false}  '
    request = decode_openai(body, Operation.CHAT)
    assert request.body is body
    assert (request.model, request.shape, request.streams, request.cuts_usage) == ("m", Shape.JSON, False, False)
    assert request.prompt_bytes == len(body)


def test_a_stream_is_asked_for_its_usage_which_is_cut_again() -> None:
    request = chat(b',"stream":true')
    assert json.loads(request.body)["stream_options"] == {"include_usage": True}
    assert (request.shape, request.cuts_usage) == (Shape.SSE, True)


def test_a_stream_whose_caller_asked_is_left_alone() -> None:
    request = chat(b',"stream":true,"stream_options":{"include_usage":true}')
    assert request.body == CHAT + b',"stream":true,"stream_options":{"include_usage":true}}'
    assert (request.shape, request.cuts_usage) == (Shape.SSE, False)


@pytest.mark.parametrize(
    ("operation", "more", "shape"),
    [
        (Operation.SPEECH, b'"stream_format":"sse"', Shape.SSE),
        (Operation.SPEECH, b'"stream_format":"audio"', Shape.JSON),
        (Operation.SPEECH, b'"stream_format":null,"stream":true', Shape.JSON),  # vLLM-Omni's: audio in pieces
        (Operation.IMAGES, b'"stream":true', Shape.SSE),
        (Operation.IMAGES, b'"stream":false', Shape.JSON),
        (Operation.IMAGES, b'"stream":null', Shape.JSON),
    ],
)
def test_what_has_no_tokens_passes_untouched(operation: Operation, more: bytes, shape: Shape) -> None:
    body = b'{"model":"m",%b, "input":"\\u0041"}' % more
    request = decode_openai(body, operation)
    assert request.body is body
    assert (request.model, request.shape, request.max_tokens, request.cuts_usage) == ("m", shape, 0, False)


@pytest.mark.parametrize("operation", sorted(MEDIA))
@pytest.mark.parametrize(("body", "param"), [(b"{}", "model"), (b'{"model":""}', "model"), (b'{"model":1}', "model")])
def test_whatever_is_asked_it_is_asked_of_a_model(operation: Operation, body: bytes, param: str) -> None:
    with pytest.raises(ClientError) as caught:
        decode_openai(body, operation)
    assert (caught.value.status, caught.value.param) == (400, param)


@pytest.mark.parametrize("options", [b"null", b"{}", b'{"include_usage":false}', b'{"include_usage":null,"x":[1]}'])
def test_a_callers_other_options_are_kept(options: bytes) -> None:
    request = chat(b',"stream":true,"stream_options":' + options)
    expected = (json.loads(options) or {}) | {"include_usage": True}
    assert json.loads(request.body)["stream_options"] == expected
    assert request.cuts_usage


@pytest.mark.parametrize(
    ("more", "bound"),
    [
        (b"", None),
        (b',"max_tokens":7', 7),
        (b',"max_completion_tokens":8', 8),
        (b',"max_tokens":7,"max_completion_tokens":8', 8),
        (b',"max_tokens":null', None),
        (b',"max_tokens":0', 0),
    ],
)
def test_the_bound_on_a_completion_is_read(more: bytes, bound: int | None) -> None:
    assert chat(more).max_tokens == bound


def test_completions_and_embeddings() -> None:
    completion = decode_openai(b'{"model":"m","prompt":"a","max_tokens":3,"stream":true}', Operation.COMPLETIONS)
    assert (completion.shape, completion.max_tokens, completion.cuts_usage) == (Shape.SSE, 3, True)
    embedding = decode_openai(b'{"model":"m","input":["a"]}', Operation.EMBEDDINGS)
    assert (embedding.shape, embedding.max_tokens, embedding.body) == (Shape.JSON, 0, b'{"model":"m","input":["a"]}')


@pytest.mark.parametrize(
    ("body", "operation", "code", "param"),
    [
        (b"", Operation.CHAT, "invalid_json", None),
        (b"{", Operation.CHAT, "invalid_json", None),
        (b"{'model':1}", Operation.CHAT, "invalid_json", None),
        (CHAT + b',"x":NaN}', Operation.CHAT, "invalid_json", None),
        (CHAT + b',"x":' + b"[" * 100_000 + b"}", Operation.CHAT, "invalid_json", None),
        (b'{"model":"\xff","messages":[1]}', Operation.CHAT, "invalid_json", None),
        (b"\xef\xbb\xbf" + CHAT + b"}", Operation.CHAT, "invalid_json", None),
        (b"[]", Operation.CHAT, "invalid_field", None),
        (b'"text"', Operation.EMBEDDINGS, "invalid_field", None),
        (b"{}", Operation.EMBEDDINGS, "missing_field", "model"),
        (b'{"messages":[1]}', Operation.CHAT, "missing_field", "model"),
        (b'{"model":"","messages":[1]}', Operation.CHAT, "missing_field", "model"),
        (b'{"model":null,"messages":[1]}', Operation.CHAT, "invalid_field", "model"),
        (b'{"model":["m"],"messages":[1]}', Operation.CHAT, "invalid_field", "model"),
        (b'{"model":"m"}', Operation.CHAT, "missing_field", "messages"),
        (CHAT + b',"stream":"yes"}', Operation.CHAT, "invalid_field", "stream"),
        (CHAT + b',"max_tokens":1.5}', Operation.CHAT, "invalid_field", "max_tokens"),
        (CHAT + b',"stream_options":[]}', Operation.CHAT, "invalid_field", "stream_options"),
        (
            CHAT + b',"stream_options":{"include_usage":1}}',
            Operation.CHAT,
            "invalid_field",
            "stream_options.include_usage",
        ),
        (b'{"prompt":"a"}', Operation.COMPLETIONS, "missing_field", "model"),
    ],
)
def test_mistakes_are_named(body: bytes, operation: Operation, code: str, param: str | None) -> None:
    with pytest.raises(ClientError) as caught:
        decode_openai(body, operation)
    assert (caught.value.status, caught.value.code, caught.value.param) == (400, code, param)
    assert caught.value.closes is False


@pytest.mark.parametrize(
    ("body", "shape", "bound"),
    [
        (b'{"model":"m"}', Shape.NDJSON, None),
        (b'{"model":"m","stream":null}', Shape.NDJSON, None),
        (b'{"model":"m","stream":true,"options":{"num_predict":9}}', Shape.NDJSON, 9),
        (b'{"model":"m","stream":false,"options":null}', Shape.JSON, None),
        (b'{"model":"m","options":{"num_predict":-1}}', Shape.NDJSON, None),
        (b'{"model":"m","options":{"num_predict":-2,"seed":1}}', Shape.NDJSON, None),
    ],
)
def test_ollama_streams_unless_told_otherwise(body: bytes, shape: Shape, bound: int | None) -> None:
    request = ollama(body)
    assert (request.shape, request.max_tokens, request.cuts_usage) == (shape, bound, False)
    assert request.body is body


def test_ollamas_embeddings_and_show_are_documents() -> None:
    for operation in (Operation.EMBED, Operation.EMBEDDINGS):
        request = ollama(b'{"model":"m","input":"a"}', operation)
        assert (request.shape, request.max_tokens) == (Shape.JSON, 0)
    assert ollama(b'{"name":"old"}', Operation.SHOW).model == "old"
    assert ollama(b'{"name":"old","model":"new"}', Operation.SHOW).model == "new"


@pytest.mark.parametrize(
    ("body", "operation"),
    [
        (b"{}", Operation.SHOW),
        (b"{}", Operation.CHAT),
        (b'{"model":""}', Operation.GENERATE),
        (b'{"model":"m","stream":1}', Operation.CHAT),
        (b'{"model":"m","options":{"num_predict":"9"}}', Operation.CHAT),
        (b"nonsense", Operation.EMBED),
    ],
)
def test_ollamas_mistakes_are_named_too(body: bytes, operation: Operation) -> None:
    with pytest.raises(ClientError) as caught:
        ollama(body, operation)
    assert caught.value.status == 400


# Splices

_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
_KEYS = st.sampled_from(["model", "stream", "messages", "x", 'stream_"options"', "stream_option"]) | st.text(max_size=8)
_OPTIONS = st.none() | st.dictionaries(
    st.sampled_from(["include_usage", "x", "continuous_usage_stats"]), _VALUES, max_size=3
)


def _dump(value: dict[str, Any], is_ascii: bool, is_tight: bool) -> bytes:
    return json.dumps(value, ensure_ascii=is_ascii, separators=(",", ":") if is_tight else (" , ", " : ")).encode(
        "utf-8", "surrogatepass"
    )


@fuzz(30)
@given(
    fields=st.dictionaries(_KEYS, _VALUES, max_size=6),
    options=st.just("absent") | _OPTIONS,
    style=st.tuples(st.booleans(), st.booleans()),
)
def test_asking_for_usage_changes_nothing_else(fields: dict[str, Any], options: Any, style: tuple[bool, bool]) -> None:
    """Invariant: the result reads as the same object with include_usage true, and every other value's text is kept."""
    asked = {"model": "m"} | fields
    asked.pop("stream_options", None)
    if options != "absent":
        asked["stream_options"] = options
    body = _dump(asked, *style) + b" \n"
    result = ask_for_usage(body)
    expected = asked | {"stream_options": (asked.get("stream_options") or {}) | {"include_usage": True}}
    assert json.loads(result) == expected
    if options == "absent":
        assert result.replace(b',"stream_options":{"include_usage":true}', b"", 1) == body


@pytest.mark.parametrize("mine", [b'"stream\\u005foptions":{"include_usage":false}', b'"stream\\u005foptions":null'])
def test_no_spelling_of_the_option_takes_the_usage_away(mine: bytes) -> None:
    request = chat(b',"stream":true,' + mine)
    assert json.loads(request.body)["stream_options"]["include_usage"] is True


@fuzz(30)
@given(
    fields=st.dictionaries(_KEYS, _VALUES, max_size=6),
    model=st.text(st.characters(codec="utf-8"), max_size=20),
    style=st.tuples(st.booleans(), st.booleans()),
)
def test_another_model_name_changes_nothing_else(fields: dict[str, Any], model: str, style: tuple[bool, bool]) -> None:
    """Invariant: the result reads as the same object with the other name."""
    asked = fields | {"model": "m"}
    assert json.loads(rename_model(_dump(asked, *style), model)) == asked | {"model": model}


def test_renaming_keeps_the_text_of_values() -> None:
    body = b'{"model":"m","x":1.50,"y":"\\u00e9\xc3\xa9","z":[ 1 ,2.0e0],"n":12345678901234567890123}'
    assert rename_model(body, "other") == body.replace(b'"m"', b'"other"', 1)
    assert json.loads(rename_model(b'{"name":"m"}', "other")) == {"name": "other"}


def test_of_two_members_with_one_name_the_last_counts_as_it_does_for_engines() -> None:
    request = decode_openai(b'{"model":"a","messages":[1],"model":"b"}', Operation.CHAT)
    assert request.model == "b"
    assert json.loads(rename_model(request.body, "c"))["model"] == "c"


_BODIES = [
    CHAT + b',"stream":true,"stream_options":{"include_usage":false},"max_tokens":5}',
    b'{"model":"m","options":{"num_predict":5},"stream":false,"name":"n"}',
]


@fuzz(75)
@given(
    mutated(
        _BODIES,
        [b'"', b"{", b"}", b"[", b",", b":", b"null", b"1e999", b"-", b"\\", b"\xff", b"\x00", b'"model"', b"9" * 400],
    ),
    st.sampled_from(list(Operation)),
)
def test_any_body_is_a_request_or_the_clients_mistake(body: bytes, operation: Operation) -> None:
    """Invariant: ClientError 400, or a request whose body is JSON where Python reads the original."""
    for decode in (decode_openai, decode_ollama):
        request = _decoded(decode, body, operation)
        if isinstance(request, int):
            assert request == 400
            continue
        assert request.model
        if request.body is not body and _is_json(body):
            assert json.loads(request.body)["stream_options"]["include_usage"] is True


def _decoded(decode: Callable[[bytes, Operation], Request], body: bytes, operation: Operation) -> Request | int:
    """The request, or the status of its refusal."""
    try:
        return decode(body, operation)
    except ClientError as error:
        return error.status


def _is_json(body: bytes) -> bool:
    try:
        json.loads(body)
    except ValueError:
        return False
    return True
