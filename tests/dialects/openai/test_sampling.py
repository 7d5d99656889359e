"""Sampling and thinking, each way. Chats and completions test the rest."""

import msgspec
import pytest

from mrproxy.canonical.conversation import Sampling, ThinkingWish
from mrproxy.dialects.openai.engines import engine_of
from mrproxy.dialects.openai.sampling import (
    Sampled,
    read_sampling,
    read_thinking,
    write_engine_wishes,
    write_sampling,
    write_thinking,
)
from mrproxy.errors import ClientError


def test_a_single_stop_is_a_list_of_one() -> None:
    assert read_sampling(Sampled(stop="x"), None, None, None) == Sampling(stop=("x",))
    assert read_sampling(Sampled(stop=["x", "y"]), None, None, None).stop == ("x", "y")


def test_both_names_of_the_penalty_are_read() -> None:
    for asked in (Sampled(repetition_penalty=1.1), Sampled(repeat_penalty=1.1)):
        assert read_sampling(asked, None, None, None).repetition_penalty == 1.1


def test_a_bound_of_zero_is_a_bound() -> None:
    body: dict[str, object] = {}
    write_sampling(Sampling(max_tokens=0, seed=0), engine_of("vllm"), "max_tokens", body, [])
    assert body == {"max_tokens": 0, "seed": 0}


@pytest.mark.parametrize("kwargs", [b'{"enable_thinking":"yes"}', b"[]", b"null", b"{}"])
def test_template_arguments_without_a_switch_are_left_alone(kwargs: bytes) -> None:
    extras = {"chat_template_kwargs": msgspec.Raw(kwargs)}
    assert read_thinking(None, extras) is None
    assert extras == {"chat_template_kwargs": msgspec.Raw(kwargs)}


def test_a_switch_joins_the_arguments_that_are_there() -> None:
    extras = {"chat_template_kwargs": msgspec.Raw(b'{"x":1,"enable_thinking":true}')}
    body: dict[str, object] = {}
    write_thinking(ThinkingWish(enabled=False), engine_of("vllm"), extras, body, [])
    assert msgspec.json.encode(body) == b'{"chat_template_kwargs":{"x":1,"enable_thinking":false}}'
    assert extras == {}


def test_template_arguments_that_are_no_text_are_refused() -> None:
    with pytest.raises(ClientError):
        read_thinking(None, {"chat_template_kwargs": msgspec.Raw(b'{"\xff":1}')})


def test_nothing_said_to_the_engine_is_nothing_written() -> None:
    body: dict[str, object] = {}
    warnings: list[str] = []
    write_engine_wishes(None, None, {}, engine_of("vllm"), body, warnings)
    assert (body, warnings) == ({}, [])
