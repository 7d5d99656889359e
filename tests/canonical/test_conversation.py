"""What the vocabulary of requests promises: values that do not change, and fields that say nothing until set."""

import inspect
from typing import Any

import msgspec
import pytest

from mrproxy.canonical import conversation
from mrproxy.canonical.conversation import (
    ChatRequest,
    EmbeddingRequest,
    Image,
    Message,
    Part,
    Role,
    Sampling,
    Text,
    TextRequest,
    ThinkingWish,
    ToolResult,
)

STRUCTS = [
    value
    for _, value in inspect.getmembers(conversation, inspect.isclass)
    if issubclass(value, msgspec.Struct) and value.__module__ == conversation.__name__
]
BARE = [
    ChatRequest(model="m", messages=()),
    TextRequest(model="m", prompts=("p",), raw=True),
    EmbeddingRequest(model="m", inputs=("i",)),
]
REQUIRED = {"model", "messages", "prompts", "inputs", "raw"}
# A dialect that can leave its usage out says so; all others have it.
SAID_BY_DEFAULT = {"include_usage": True}
NOT_SAID: tuple[Any, ...] = (None, (), {}, False, Sampling())


@pytest.mark.parametrize("struct", STRUCTS, ids=lambda struct: struct.__name__)
def test_everything_is_frozen(struct: type[msgspec.Struct]) -> None:
    assert struct.__struct_config__.frozen


@pytest.mark.parametrize("request_", BARE, ids=lambda request: type(request).__name__)
def test_a_field_that_was_not_set_was_not_said(request_: msgspec.Struct) -> None:
    for name, value in msgspec.structs.asdict(request_).items():
        if name not in REQUIRED:
            assert value == SAID_BY_DEFAULT[name] if name in SAID_BY_DEFAULT else value in NOT_SAID, name


@pytest.mark.parametrize("struct", [Sampling, ThinkingWish])
def test_a_wish_that_was_not_made_is_none(struct: type[msgspec.Struct]) -> None:
    assert all(value in (None, ()) for value in msgspec.structs.asdict(struct()).values())


def test_requests_share_nothing() -> None:
    first, second = (ChatRequest(model="m", messages=()) for _ in range(2))
    first.extras["x"] = msgspec.Raw(b"1")
    assert second.extras == {}


def test_a_request_that_differs_is_a_copy() -> None:
    request = ChatRequest(model="m", messages=(Message(Role.USER, (Text("hi"),)),))
    with pytest.raises(AttributeError):
        request.model = "n"  # type: ignore[misc]
    assert msgspec.structs.replace(request, model="n").messages is request.messages
    assert request.model == "m"


def test_requests_are_compared_by_value() -> None:
    def made() -> ChatRequest:
        result = ToolResult("c", (Text("r"), Image(media_type="image/png", data="AAAA")))
        return ChatRequest(model="m", messages=(Message(Role.TOOL, (result,)),), sampling=Sampling(seed=1))

    assert made() == made()


def test_parts_are_told_apart_by_their_type() -> None:
    """A match over them needs no discriminator: none of them is a subclass of another one."""
    parts = [part for part in STRUCTS if part in Part.__args__]  # type: ignore[attr-defined]
    assert len(parts) == len(Part.__args__)  # type: ignore[attr-defined]
    assert not any(one is not other and issubclass(one, other) for one in parts for other in parts)


def test_roles_are_openais_words() -> None:
    assert [str(role) for role in Role] == ["system", "developer", "user", "assistant", "tool"]
