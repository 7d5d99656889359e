"""Counting takes what Messages takes, without a bound."""

import json

import pytest

from mrproxy.canonical.conversation import ChatRequest, Message, Role, Text
from mrproxy.dialects.anthropic.count_tokens import decode_count_tokens, encode_count
from mrproxy.errors import ClientError


def test_a_conversation_without_a_bound_is_read() -> None:
    body = {"model": "m", "system": "s", "messages": [{"role": "user", "content": "hi"}]}
    assert decode_count_tokens(json.dumps(body).encode()) == ChatRequest(
        model="m", messages=(Message(Role.SYSTEM, (Text("s"),)), Message(Role.USER, (Text("hi"),)))
    )


def test_messages_are_still_required() -> None:
    with pytest.raises(ClientError) as caught:
        decode_count_tokens(b'{"model":"m"}')
    assert caught.value.param == "messages"


def test_the_answer_is_one_number() -> None:
    assert encode_count(42) == b'{"input_tokens":42}'
