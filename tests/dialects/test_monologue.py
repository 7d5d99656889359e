"""A completion as a chat of one turn: what is carried over, and what a chat cannot be told."""

from typing import Any

import msgspec
import pytest

from mrproxy.canonical.conversation import (
    ChatRequest,
    FormatKind,
    Image,
    Message,
    ResponseFormat,
    Role,
    Sampling,
    Text,
    TextRequest,
    ThinkingWish,
)
from mrproxy.dialects.monologue import as_chat
from mrproxy.errors import ClientError, Code

IMAGE = Image(media_type="image/png", data="iVBORw0KGgo=")


def text(**fields: Any) -> TextRequest:
    return TextRequest(**({"model": "m", "prompts": ("Why?",), "raw": False} | fields))


def test_a_prompt_is_what_the_user_says() -> None:
    assert as_chat(text()) == ChatRequest(model="m", messages=(Message(Role.USER, (Text("Why?"),)),))


def test_a_system_prompt_comes_first_and_images_behind_the_prompt() -> None:
    assert as_chat(text(system="Be brief.", images=(IMAGE,))).messages == (
        Message(Role.SYSTEM, (Text("Be brief."),)),
        Message(Role.USER, (Text("Why?"), IMAGE)),
    )
    assert as_chat(text(prompts=("",), images=(IMAGE,))).messages == (Message(Role.USER, (IMAGE,)),)


def test_every_wish_is_carried_over() -> None:
    """By name, so that a field that is added to both later is not forgotten here."""
    wishes: dict[str, Any] = {
        "sampling": Sampling(temperature=0.5, stop=("x",)),
        "response_format": ResponseFormat(FormatKind.JSON_OBJECT),
        "thinking": ThinkingWish(enabled=True),
        "streams": True,
        "include_usage": False,
        "user": "ada",
        "keep_alive": msgspec.Raw(b'"5m"'),
        "context_length": 64,
        "engine_options": {"mirostat": msgspec.Raw(b"1")},
        "extras": {"x": msgspec.Raw(b"1")},
        "warnings": ("told before",),
    }
    shared = set(TextRequest.__struct_fields__) & set(ChatRequest.__struct_fields__)
    assert shared == {*wishes, "model"}
    chat = as_chat(text(**wishes))
    assert {name: getattr(chat, name) for name in wishes} == wishes


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("prompt", {"prompts": ("a", "b")}),
        ("prompt", {"prompts": ()}),
        ("prompt", {"prompts": ((1, 2),)}),
        ("suffix", {"suffix": "end"}),
        ("template", {"template": "{{ .Prompt }}"}),
        ("context", {"context": (1, 2)}),
        ("echo", {"echo": True}),
        ("best_of", {"best_of": 2}),
    ],
)
def test_what_a_chat_cannot_be_told_is_refused_by_name(field: str, fields: dict[str, Any]) -> None:
    with pytest.raises(ClientError) as caught:
        as_chat(text(**fields))
    assert (caught.value.code, caught.value.param) == (Code.INVALID_FIELD, field)


@pytest.mark.parametrize("fields", [{"suffix": ""}, {"echo": False}, {"best_of": 1}, {"template": ""}, {"system": ""}])
def test_what_asks_for_nothing_is_not_refused(fields: dict[str, Any]) -> None:
    assert as_chat(text(**fields)) == as_chat(text())


def test_a_prompt_that_was_to_be_continued_is_answered_with_a_warning() -> None:
    chat = as_chat(text(raw=True, warnings=("told before",)))
    assert chat.messages == as_chat(text()).messages
    assert chat.warnings == (
        "told before",
        "the prompt is sent as a chat message: this backend has no completions",
    )
