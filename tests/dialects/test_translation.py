"""The translating lane put together, for every caller's dialect and operation, kind of engine and shape."""

import json
from collections.abc import Callable, Iterable
from functools import partial

import msgspec
import pytest
from hypothesis import given

from mrproxy.canonical.conversation import ChatRequest, Image, Message, Role, Text, TextRequest
from mrproxy.canonical.deltas import (
    Begin,
    Delta,
    End,
    Finish,
    FinishReason,
    Report,
    TextDelta,
    ThinkingDelta,
    TokenReport,
    ToolCallArguments,
    ToolCallBegin,
)
from mrproxy.canonical.exchange import Usage
from mrproxy.canonical.request import Operation
from mrproxy.dialects.codec import Target
from mrproxy.dialects.translation import Asked, answer_to_nothing, engine_dialect, needs_bytes, read_asked, translate
from mrproxy.errors import ClientError
from tests.dialects import golden as openai_golden
from tests.dialects.anthropic import golden as anthropic_golden
from tests.dialects.codecs import BROKEN_OFF, CONTEXT, HTML, Heard
from tests.dialects.ollama import golden as ollama_golden
from tests.dialects.translating import (
    CHATS,
    KINDS,
    PAIRS,
    PATHS,
    READERS,
    Pair,
    ask,
    has_end,
    heard_by_caller,
    spoken,
    through,
    translation,
)
from tests.fuzzing import fuzz, mutated

every_pair = pytest.mark.parametrize("pair", PAIRS, ids=str)
every_chat = pytest.mark.parametrize("pair", [pair for pair in PAIRS if pair.operation in CHATS], ids=str)
every_stream = pytest.mark.parametrize("pair", [pair for pair in PAIRS if pair.streams], ids=str)
BEGIN = Begin("theirs", "own", 1_700_000_000)
ENDING: list[Delta] = [Report(TokenReport(7, 3)), End()]
ANSWER: list[Delta] = [BEGIN, TextDelta("Grü"), TextDelta("ße 🌍\n"), Finish(FinishReason.LENGTH), *ENDING]
WHOLE = Heard(text="Grüße 🌍\n", reason="LENGTH", usage=Usage(7, 3))
PNG = "iVBORw0KGgo="


# Requests


@every_pair
def test_a_request_is_what_the_engine_reads_back(pair: Pair) -> None:
    made = translation(pair)
    assert made.path == PATHS[pair.engine, pair.is_continued]
    request = READERS[pair.engine, pair.is_continued](made.body)
    assert (request.model, request.streams) == ("own", pair.streams)
    if isinstance(request, TextRequest):
        assert request.prompts == ("Why?",)
        # Ollama's own /v1/completions wraps prompts in the template: the lane must make no difference.
        assert request.raw is (pair.operation is Operation.COMPLETIONS and pair.engine != "ollama")
    else:
        assert request.messages == (Message(Role.USER, (Text("Why?"),)),)
    assert made.tap.is_document is not pair.streams


@every_pair
def test_of_a_plain_request_only_what_it_becomes_is_told(pair: Pair) -> None:
    expected = []
    if pair.operation is Operation.COMPLETIONS and pair.engine == "anthropic":
        expected.append("the prompt is sent as a chat message")
    if pair.operation is not Operation.MESSAGES and pair.engine == "anthropic":
        expected.append("max_tokens was not given")
    warnings = translation(pair).warnings
    assert len(warnings) == len(expected)
    assert all(warning.startswith(start) for warning, start in zip(warnings, expected, strict=True))


@every_pair
def test_an_engine_is_always_asked_what_it_counted(pair: Pair) -> None:
    body = json.loads(translation(pair).body)
    if pair.engine == "openai" and pair.streams:
        assert body["stream_options"] == {"include_usage": True}


def test_what_cannot_be_passed_on_is_told_once_for_both_halves() -> None:
    made = translation(
        Pair("anthropic", Operation.MESSAGES, "openai", streams=True),
        top_k=5,
        system=[{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
    )
    assert any("top_k" in warning for warning in made.warnings)
    assert any("cache_control" in warning for warning in made.warnings)


def test_what_would_change_the_answers_meaning_is_refused() -> None:
    with pytest.raises(ClientError) as caught:
        translation(Pair("openai", Operation.CHAT, "ollama", streams=False), n=2)
    assert caught.value.param == "n"


@pytest.mark.parametrize(("is_fixed", "told"), [(True, 8192), (False, 4096)])
def test_ollama_is_told_its_context_length(is_fixed: bool, told: int) -> None:
    asked = ask(Pair("ollama", Operation.CHAT, "ollama", streams=True), options={"num_ctx": 4096})
    made = translate(asked, Target("ollama", "own", 8192, is_fixed), CONTEXT)
    assert json.loads(made.body)["options"]["num_ctx"] == told


def test_what_nobody_can_read_is_the_callers_mistake() -> None:
    with pytest.raises(ClientError):
        read_asked("openai", Operation.CHAT, b"{")


def test_a_kind_that_is_not_known_by_name_is_spoken_to_as_openai() -> None:
    assert {kind: engine_dialect(kind) for kind in (*KINDS, "sglang")} == {
        "vllm": "openai",
        "openai": "openai",
        "llamacpp": "openai",
        "sglang": "openai",
        "ollama": "ollama",
        "anthropic": "anthropic",
    }


# Answers


@every_pair
def test_an_answer_is_what_the_caller_hears(pair: Pair) -> None:
    made = translation(pair)
    data = through(made, [spoken(pair, ANSWER)])
    assert heard_by_caller(pair, data) == WHOLE
    assert (made.tap.usage, made.tap.failure) == (Usage(7, 3), "")
    assert made.tap.events == (2 if pair.streams else 1)
    assert b'"own"' not in data


@every_pair
def test_byte_by_byte_is_the_same_as_whole(pair: Pair) -> None:
    made = translation(pair)
    data = through(made, [bytes([byte]) for byte in spoken(pair, ANSWER)])
    assert heard_by_caller(pair, data) == WHOLE
    assert (made.tap.usage, made.tap.events) == (Usage(7, 3), 2 if pair.streams else 1)


@every_stream
def test_wherever_a_stream_is_cut_it_is_the_same(pair: Pair) -> None:
    data = spoken(pair, ANSWER)
    asked = ask(pair)
    whole = translate(asked, Target(pair.kind, "own"), CONTEXT)
    expected = through(whole, [data])
    # Each place for one kind of each dialect, some for the others.
    step = 1 if pair.kind in ("vllm", "ollama", "anthropic") else 17
    for place in range(0, len(data), step):
        made = translate(asked, Target(pair.kind, "own"), CONTEXT)
        said = through(made, [data[:place], data[place:]])
        if said != expected:  # Anthropic's counts are at the beginning, if they are known by then
            assert heard_by_caller(pair, said) == WHOLE
        assert made.tap.usage == Usage(7, 3)


@every_chat
def test_parallel_calls_are_told_whole_and_apart(pair: Pair) -> None:
    """However the engine mixes their pieces."""
    pieces: list[Delta] = [
        ToolCallBegin(0, "call_a", "f"),
        ToolCallArguments(0, '{"city":'),
        ToolCallBegin(1, "call_b", "g"),
        ToolCallArguments(1, '{"n":'),
        ToolCallArguments(0, ' "Zürich"}'),
        ToolCallArguments(1, " [1,2]}"),
    ]
    made = translation(pair)
    data = spoken(pair, [BEGIN, TextDelta("Let me see."), *pieces, Finish(FinishReason.TOOL_CALLS), *ENDING])
    said = heard_by_caller(pair, through(made, [bytes([byte]) for byte in data]))
    assert said.text == "Let me see."
    assert said.calls == [("f", {"city": "Zürich"}), ("g", {"n": [1, 2]})]
    assert (said.reason, made.tap.failure) == ("TOOL_CALLS", "")


@every_chat
def test_thinking_is_told_apart_from_text(pair: Pair) -> None:
    deltas: list[Delta] = [BEGIN, ThinkingDelta("Hm…"), ThinkingDelta(" so"), TextDelta("Because.")]
    data = spoken(pair, [*deltas, Finish(FinishReason.STOP), *ENDING])
    said = heard_by_caller(pair, through(translation(pair), [data]))
    assert (said.thinking, said.text, said.reason) == ("Hm… so", "Because.", "STOP")


@every_stream
def test_usage_that_the_caller_does_not_want_is_known_to_us_all_the_same(pair: Pair) -> None:
    """OpenAI's streams alone let callers choose."""
    context = msgspec.structs.replace(CONTEXT, include_usage=False)
    made = translate(ask(pair), Target(pair.kind, "own"), context)
    said = heard_by_caller(pair, through(made, [spoken(pair, ANSWER)]))
    assert said.usage == (None if pair.dialect == "openai" else Usage(7, 3))
    assert made.tap.usage == Usage(7, 3)


# Failures


@every_pair
def test_an_answer_that_is_cut_off_is_none(pair: Pair) -> None:
    data = spoken(pair, ANSWER)
    for place in _thinned(range(len(data.rstrip()) * 9 // 10), 23):
        made = translation(pair)
        said = through(made, [data[:place]])
        assert made.tap.failure
        assert _is_unfinished(pair, said)


@every_stream
def test_what_was_said_before_an_error_is_passed_on_and_has_no_end(pair: Pair) -> None:
    made = translation(pair)
    start = spoken(pair, [BEGIN, TextDelta("Grü")])
    start = start[: start.index("Grü".encode())] + "Grü".encode() + _rest_of_event(start)
    said = made.tap.receive_data(start) + made.tap.receive_data(BROKEN_OFF[pair.engine])
    assert "Grü".encode() in said
    assert "boom" in made.tap.failure
    assert made.tap.finish() == b""
    assert _is_unfinished(pair, said)
    assert made.tap.events == 1


@every_pair
@pytest.mark.parametrize("data", [HTML, b"", b"\xff\xfe\x00", b"{}", b"[]", b"null"])
def test_what_is_no_answer_is_a_failure_and_nothing_of_it_is_told(pair: Pair, data: bytes) -> None:
    made = translation(pair)
    assert through(made, [data]) == b""
    assert made.tap.failure
    assert made.tap.usage is None


def _rest_of_event(data: bytes) -> bytes:
    """Up to the end of the event or line in which the text stands."""
    rest = data[data.index("Grü".encode()) + 4 :]
    end = rest.index(b"\n\n") + 2 if b"\n\n" in rest else rest.index(b"\n") + 1
    return rest[:end]


def _is_unfinished(pair: Pair, said: bytes) -> bool:
    return not said if not pair.streams else heard_by_caller(pair, said).failure != ""


def _thinned(places: Iterable[int], step: int) -> list[int]:
    return list(places)[::step]


# Fuzzing

# For each dialect of an engine, one kind that is asked in it.
_ASKED = {pair: ask(pair) for pair in PAIRS if pair.kind in ("vllm", "ollama", "anthropic")}


def translate_anything(kind: str, streams: bool, data: bytes) -> None:
    """Invariant: what has not failed is an answer to its end for callers of every dialect; what has failed has none."""
    for pair, asked in _ASKED.items():
        if (pair.kind, pair.streams) != (kind, streams):
            continue
        made = translate(asked, Target(kind, "own"), CONTEXT)
        half = len(data) // 2
        said = through(made, [data[:half], data[half:]])
        if made.tap.failure and not streams:
            assert said == b""
        else:
            assert has_end(pair, said) is not bool(made.tap.failure), made.tap.failure


FUZZ_TARGETS: dict[str, Callable[[bytes], None]] = {
    f"translated {kind} {'stream' if streams else 'document'}": partial(translate_anything, kind, streams)
    for kind in ("vllm", "ollama", "anthropic")
    for streams in (True, False)
}
STREAMS = [stream.data for stream in (*openai_golden.SSE.values(), *anthropic_golden.STREAMS.values())]


@fuzz(20)
@given(mutated([*STREAMS, *ollama_golden.STREAMS], [b"\n\n", b"null", b"{}", b'"', b"\xff", b"1e999", b"\\ud800"]))
def test_whatever_engines_send_callers_of_every_dialect_can_read_it(data: bytes) -> None:
    for target in FUZZ_TARGETS.values():
        target(data)


# What needs no engine, or something before it


@pytest.mark.parametrize("operation", [Operation.CHAT, Operation.GENERATE])
@pytest.mark.parametrize(("keep_alive", "reason"), [(None, "load"), ("5m", "load"), (0, "unload"), ("0s", "unload")])
def test_loading_and_unloading_are_answered_without_an_engine(
    operation: Operation, keep_alive: object, reason: str
) -> None:
    body = {"model": "public"} if keep_alive is None else {"model": "public", "keep_alive": keep_alive}
    answer = answer_to_nothing(read_asked("ollama", operation, json.dumps(body).encode()), CONTEXT)
    assert answer is not None
    told = json.loads(answer)
    assert (told["model"], told["done"], told["done_reason"]) == ("public", True, reason)


@every_pair
def test_what_asks_for_something_needs_an_engine(pair: Pair) -> None:
    assert answer_to_nothing(ask(pair), CONTEXT) is None


def _shown(streams: bool = False) -> Asked:
    content = [{"type": "image_url", "image_url": {"url": "https://a.example/1.png"}}]
    pair = Pair("openai", Operation.CHAT, "ollama", streams=streams)
    return ask(pair, messages=[{"role": "user", "content": content}])


@pytest.mark.parametrize("kind", KINDS)
def test_only_ollama_cannot_fetch_images_itself(kind: str) -> None:
    assert needs_bytes(kind, _shown()) == (("https://a.example/1.png",) if kind == "ollama" else ())


def test_fetched_images_take_the_place_of_their_urls() -> None:
    asked = _shown().with_images({"https://a.example/1.png": Image(media_type="image/png", data=PNG)})
    assert needs_bytes("ollama", asked) == ()
    body = json.loads(translate(asked, Target("ollama", "own"), CONTEXT).body)
    assert body["messages"][0]["images"] == [PNG]


def test_images_of_a_completion_are_replaced_too() -> None:
    request = TextRequest(model="m", prompts=("p",), raw=False, images=(Image(url="https://a.example/1.png"),))
    asked = Asked("ollama", Operation.GENERATE, request)
    assert needs_bytes("ollama", asked) == ("https://a.example/1.png",)
    replaced = asked.with_images({"https://a.example/1.png": Image(media_type="image/png", data=PNG)})
    assert isinstance(replaced.request, TextRequest)
    assert replaced.request.images == (Image(media_type="image/png", data=PNG),)


def test_a_chat_streams_if_its_caller_wants_it() -> None:
    for streams in (True, False):
        asked = _shown(streams)
        assert isinstance(asked.request, ChatRequest)
        assert asked.streams is streams
