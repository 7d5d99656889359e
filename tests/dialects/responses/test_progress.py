"""Items while they grow: what each is as a document, and in a chat."""

import json

import msgspec
import pytest

from mrproxy.canonical.conversation import Part, RedactedThinking, Refusal, Text, Thinking, ToolCall
from mrproxy.canonical.deltas import Logprobs
from mrproxy.dialects.responses.documents import FunctionCallItem, MessageItem, OutputText, ReasoningItem
from mrproxy.dialects.responses.progress import (
    COMPLETED,
    INCOMPLETE,
    CallInProgress,
    ItemInProgress,
    PartInProgress,
    read_logprobs,
)
from mrproxy.dialects.responses.turns import AssistantTurn


def item(kind: str, *parts: tuple[str, str], status: str = COMPLETED) -> ItemInProgress:
    made = ItemInProgress(kind, "id", 0)
    made.status = status
    for number, (part_kind, text) in enumerate(parts):
        part = PartInProgress(part_kind, number)
        part.fragments += text
        made.parts.append(part)
    return made


def call(arguments: str, status: str = COMPLETED) -> ItemInProgress:
    made = ItemInProgress("function_call", "fc_1", 0, CallInProgress("a", "f"))
    assert made.call is not None
    made.call.fragments += arguments
    made.status = status
    return made


def said(made: ItemInProgress) -> tuple[Part, ...]:
    turn = AssistantTurn()
    made.say_in(turn)
    return tuple(part for message in turn.end() for part in message.parts)


def test_a_message_is_texts_and_refusals() -> None:
    made = item("message", ("output_text", "abc"), ("refusal", "no"))
    assert isinstance(made.document(), MessageItem)
    assert said(made) == (Text("abc"), Refusal("no"))


def test_reasoning_is_thinking_signed_or_sealed() -> None:
    made = item("reasoning", ("reasoning_text", "abc"))
    assert said(made) == (Thinking("abc"),)
    made.sealed = "signature.s"
    assert said(made) == (Thinking("abc", "s"),)
    sealed = item("reasoning")
    sealed.sealed = "redacted.x"
    assert said(sealed) == (RedactedThinking("x"),)


def test_the_seal_is_shown_to_those_who_asked() -> None:
    made = item("reasoning")
    made.sealed = "redacted.x"
    hidden = made.document()
    made.shows_sealed = True
    shown = made.document()
    assert isinstance(hidden, ReasoningItem)
    assert isinstance(shown, ReasoningItem)
    assert (hidden.encrypted_content, shown.encrypted_content) == (None, "redacted.x")


def test_a_call_counts_when_it_was_not_cut_off() -> None:
    assert said(call('{"a":1}')) == (ToolCall("a", "f", '{"a":1}'),)
    assert said(call('{"a', INCOMPLETE)) == ()
    assert call("{}").document() == FunctionCallItem("fc_1", COMPLETED, "a", "f", "{}")


@pytest.mark.parametrize(
    ("arguments", "is_complete"),
    [("", False), ("{", False), ("{}", True), (' {"a":[1]} ', True), ("[]", False), ("{}}", False), ("\ud800", False)],
)
def test_arguments_are_complete_when_they_are_an_object(arguments: str, is_complete: bool) -> None:
    made = call(arguments).call
    assert made is not None
    assert made.is_complete is is_complete


@pytest.mark.parametrize("content", [b"null", b"[]", b"{}", b'{"content":null}', b'{"content":[{}]}', b"\xff", b""])
def test_logprobs_that_are_something_else_are_none(content: bytes) -> None:
    assert read_logprobs(Logprobs(msgspec.Raw(content))) == []


def test_logprobs_have_bytes_always() -> None:
    token = {"token": "a", "logprob": -1, "bytes": None, "top_logprobs": None}
    (found,) = read_logprobs(Logprobs(msgspec.Raw(json.dumps({"content": [token]}).encode())))
    assert (found.token, found.bytes, found.logprob, found.top_logprobs) == ("a", [], -1.0, [])


def test_a_text_carries_its_logprobs() -> None:
    part = PartInProgress("output_text", 0)
    part.logprobs += read_logprobs(Logprobs(msgspec.Raw(b'{"content":[{"token":"a","logprob":0}]}')))
    document = part.document()
    assert isinstance(document, OutputText)
    assert len(document.logprobs) == 1
