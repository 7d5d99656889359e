"""/api/chat answered: what is written can be read again, by us and by the SDK."""

import json

import msgspec
import ollama
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.canonical.deltas import (
    Begin,
    Delta,
    End,
    Finish,
    FinishReason,
    Logprobs,
    Report,
    TextDelta,
    ThinkingDelta,
    TokenReport,
    ToolCallArguments,
    ToolCallBegin,
)
from mrproxy.dialects.codec import AnswerContext
from mrproxy.dialects.ollama.answers import (
    ChatDocumentDecoder,
    ChatDocumentEncoder,
    ChatStreamDecoder,
    ChatStreamEncoder,
)
from tests.dialects.ollama import golden
from tests.dialects.ollama.wishes import NAME, TEXT
from tests.fuzzing import fuzz

CONTEXT = AnswerContext("r-1", "m", 1700000000.25)
BEGIN = Begin(model="m", created=1700000000)
LOGPROBS = Logprobs(msgspec.Raw(b'{"content":[{"token":"a","logprob":-1.5,"bytes":[97],"top_logprobs":[]}]}'))
COUNT = st.none() | st.integers(0, 10**12)
REPORTS = st.builds(
    TokenReport, prompt_tokens=st.integers(0, 99), completion_tokens=COUNT, load_ns=COUNT, prompt_ns=COUNT,
    completion_ns=COUNT, total_ns=COUNT,
)  # fmt: skip


@st.composite
def answers(draw: st.DrawFn) -> list[Delta]:
    deltas: list[Delta] = [BEGIN, *(ThinkingDelta(text) for text in draw(st.lists(TEXT, max_size=2)))]
    for text in draw(st.lists(TEXT, max_size=3)):
        deltas.append(TextDelta(text))
        deltas += draw(st.sampled_from([[], [LOGPROBS]]))
    calls = draw(st.integers(0, 2))
    for call in range(calls):
        arguments = msgspec.json.encode({draw(NAME): draw(TEXT)}).decode()
        deltas += [ToolCallBegin(call, f"id{call}", draw(NAME)), ToolCallArguments(call, arguments)]
    reason = draw(st.sampled_from([FinishReason.LENGTH, FinishReason.TOOL_CALLS if calls else FinishReason.STOP]))
    return [*deltas, Finish(reason), Report(draw(REPORTS)), End()]


@fuzz(50)
@given(answers())
def test_streams_come_back_unchanged(deltas: list[Delta]) -> None:
    encoder, decoder = ChatStreamEncoder(CONTEXT), ChatStreamDecoder("r-2")
    told = encoder.send(deltas) + encoder.finish()
    assert decoder.receive_data(told) == deltas
    assert decoder.finish() == []


@fuzz(30)
@given(answers())
def test_documents_come_back_with_their_pieces_joined(deltas: list[Delta]) -> None:
    encoder, decoder = ChatDocumentEncoder(CONTEXT), ChatDocumentDecoder("r-2")
    encoder.send(deltas)
    assert decoder.receive_data(encoder.finish()) == []
    found = decoder.finish()
    for kind in (TextDelta, ThinkingDelta):
        assert joined(found, kind) == joined(deltas, kind)
    others = (ToolCallBegin, ToolCallArguments, Finish, Report, End)
    assert [delta for delta in found if isinstance(delta, others)] == [
        delta for delta in deltas if isinstance(delta, others)
    ]


def joined(deltas: list[Delta], kind: type[TextDelta] | type[ThinkingDelta]) -> str:
    return "".join(delta.text for delta in deltas if isinstance(delta, kind))


def test_the_sdk_reads_what_is_written() -> None:
    deltas = ChatStreamDecoder("r").receive_data(golden.CHAT_STREAM_WITH_CALLS)
    encoder = ChatStreamEncoder(CONTEXT)
    told = encoder.send(deltas) + encoder.finish()
    chunks = [ollama.ChatResponse(**json.loads(line)) for line in told.splitlines()]
    calls = [call for chunk in chunks for call in chunk.message.tool_calls or ()]
    assert [call.function.arguments for call in calls] == [{"city": "Bern"}, {"city": "Chur"}]
    assert (chunks[0].message.thinking, chunks[-1].done_reason, chunks[-1].eval_count) == ("Both at once.", "stop", 30)


def test_a_load_is_told_as_a_document() -> None:
    encoder = ChatDocumentEncoder(AnswerContext("r", "llama3.2", 1726175849.110811))
    encoder.send([Finish(FinishReason.LOAD), End()])
    told = ollama.ChatResponse(**json.loads(encoder.finish()))
    assert (told.done, told.done_reason, told.message.content, told.eval_count) == (True, "load", "", None)
