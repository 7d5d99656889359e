"""What the tests of answers share: decoders driven to their end, deltas joined, deltas drawn."""

from collections.abc import Sequence

import msgspec
from hypothesis import strategies as st

from mrproxy.canonical.deltas import (
    Begin,
    Delta,
    End,
    Failure,
    Finish,
    FinishReason,
    Logprobs,
    RefusalDelta,
    Report,
    TextDelta,
    ThinkingDelta,
    TokenReport,
    ToolCallArguments,
    ToolCallBegin,
)
from mrproxy.dialects.codec import AnswerContext, AnswerDecoder, AnswerEncoder
from tests.dialects.openai.wishes import NAME, TEXT

REQUEST = "0-1"
CONTEXT = AnswerContext(REQUEST, "m", 1_790_000_000.7)


def decode(decoder: AnswerDecoder, pieces: Sequence[bytes]) -> list[Delta]:
    deltas: list[Delta] = []
    for piece in pieces:
        deltas += decoder.receive_data(piece)
    return deltas + decoder.finish()


def encode(encoder: AnswerEncoder, deltas: Sequence[Delta], batches: Sequence[int] = ()) -> bytes:
    """`batches`: how many deltas each send is given; the rest goes last."""
    out, start = b"", 0
    for size in batches:
        out += encoder.send(deltas[start : start + size])
        start += size
    return out + encoder.send(deltas[start:]) + encoder.finish()


def joined(deltas: Sequence[Delta]) -> list[Delta]:
    """Neighbouring texts of one kind and choice as one."""
    out: list[Delta] = []
    for delta in deltas:
        last = out[-1] if out else None
        if isinstance(delta, TextDelta | ThinkingDelta | RefusalDelta) and type(last) is type(delta):
            assert isinstance(last, TextDelta | ThinkingDelta | RefusalDelta)
            if last.choice == delta.choice:
                out[-1] = type(delta)(last.text + delta.text, delta.choice)
                continue
        out.append(delta)
    return out


def ends_well_or_fails(deltas: Sequence[Delta]) -> None:
    """Invariant of every decoder: Begin first, one End or Failure, last; calls are dense, and begin first."""
    assert sum(isinstance(delta, End | Failure) for delta in deltas) == 1
    assert isinstance(deltas[-1], End | Failure)
    assert all(isinstance(delta, Begin) == (number == 0) for number, delta in enumerate(deltas[:-1]))
    begun: dict[int, int] = {}
    ids: set[str] = set()
    for delta in deltas:
        if isinstance(delta, ToolCallBegin):
            assert delta.call == begun.get(delta.choice, 0)
            begun[delta.choice] = delta.call + 1
            assert delta.id
            ids.add(delta.id)
        elif isinstance(delta, ToolCallArguments):
            assert delta.call < begun[delta.choice]
    if isinstance(deltas[-1], End):
        assert any(isinstance(delta, Finish) for delta in deltas)


_ENDS = [FinishReason.STOP, FinishReason.LENGTH, FinishReason.CONTENT_FILTER]
_CHAT_LOGPROBS = msgspec.Raw(b'{"content":[{"token":"a","logprob":-0.5,"bytes":[97],"top_logprobs":[]}]}')
_COUNT = st.none() | st.integers(1, 9999)


@st.composite
def choice_deltas(draw: st.DrawFn, choice: int, is_chat: bool) -> list[Delta]:
    deltas: list[Delta] = []
    calls = draw(st.integers(0, 2)) if is_chat else 0
    kinds = (TextDelta, ThinkingDelta, RefusalDelta) if is_chat else (TextDelta,)
    for _ in range(draw(st.integers(0, 4))):
        deltas.append(draw(st.sampled_from(kinds))(draw(TEXT), choice))
        if isinstance(deltas[-1], TextDelta) and draw(st.booleans()):
            deltas.append(Logprobs(_CHAT_LOGPROBS, choice))
    for call in range(calls):
        deltas.append(ToolCallBegin(call, f"id_{choice}_{call}", draw(NAME), choice))
        deltas += [ToolCallArguments(call, piece, choice) for piece in draw(st.lists(TEXT, max_size=2))]
    if calls:
        deltas.append(Finish(FinishReason.TOOL_CALLS, choice))
    elif draw(st.booleans()):
        deltas.append(Finish(FinishReason.STOP_SEQUENCE, choice, draw(TEXT)))
    else:
        deltas.append(Finish(draw(st.sampled_from(_ENDS)), choice))
    return deltas


@st.composite
def answers(draw: st.DrawFn, *, is_chat: bool) -> list[Delta]:
    deltas: list[Delta] = []
    for choice in range(draw(st.integers(1, 2))):
        deltas += draw(choice_deltas(choice, is_chat))
    tokens = TokenReport(
        prompt_tokens=draw(st.integers(0, 9)),
        completion_tokens=draw(st.integers(0, 9)),
        cached_tokens=draw(_COUNT),
        cache_write_tokens=draw(_COUNT),
        reasoning_tokens=draw(_COUNT),
    )
    return [*deltas, Report(tokens), End()]
