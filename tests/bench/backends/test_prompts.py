import msgspec
import pytest

from bench.backends.prompts import (
    URL_BYTES,
    Conversation,
    Prompt,
    Refusal,
    image_size,
    image_url_size,
    may_be_special,
    mentioned_calls,
    refuses_malformed,
)

TOOLS = {"weather": {}, "time": None}


def prompt(text, **fields):
    heard = Conversation()
    heard.hear_user(text)
    return Prompt(heard, **fields)


def test_each_mention_of_a_known_tool_is_a_call():
    assert prompt("call:weather call:other call:weather", tools=TOOLS).wanted_calls == [("weather", None)] * 2
    assert prompt("call:weather").wanted_calls == []
    assert prompt("call:weather", tools=TOOLS, may_call=False).wanted_calls == []
    assert prompt("call:weather call:time", tools=TOOLS, is_parallel=False).wanted_calls == [("weather", None)]


def test_a_mention_may_bring_its_arguments():
    assert mentioned_calls('call:a{"x": {"y": "é}"}} and call:b{not json}') == [("a", {"x": {"y": "é}"}}), ("b", None)]


def test_a_forced_call_needs_no_mention():
    assert prompt("hi", tools=TOOLS, forced="").wanted_calls == [("weather", None)]
    assert prompt("hi", tools=TOOLS, forced="time").wanted_calls == [("time", None)]
    assert prompt("call:weather call:time{}", tools=TOOLS, forced="time").wanted_calls == [("time", {})]


def test_after_results_there_is_no_call_until_the_user_speaks_again():
    asked = prompt("call:weather", tools=TOOLS)
    asked.conversation.hear_result("sunny")
    assert asked.wanted_calls == []
    asked.conversation.hear_user("call:time")
    assert asked.wanted_calls == [("time", None)]


@pytest.mark.parametrize(
    ("text", "fields", "special"),
    [
        ("hello", {}, False),
        ("say: hi", {}, True),
        ("I say: hi", {}, False),
        ("this is cached", {}, True),
        ("hello", {"tools": TOOLS}, True),
        ("hello", {"effort": "low"}, True),
        ("hello", {"schema": {}}, True),
        ("hello", {"stops": ("a",)}, True),
        ("hello", {"choices": 2}, True),
        ("hello", {"logprobs": 0}, True),
    ],
)
def test_only_what_the_plain_answer_cannot_do_is_special(text, fields, special):
    assert prompt(text, **fields).is_special == special


@pytest.mark.parametrize(
    ("message", "special"),
    [
        ({"role": "user", "content": "a stool, an image, a call:one, I say: hi"}, False),
        ({"role": "user", "content": "say:hi"}, True),
        ({"role": "system", "content": "it is cached"}, True),
        ({"role": "tool", "content": "sunny"}, True),
        ({"role": "user", "content": [{"type": "text", "text": "hi"}]}, True),
        ({"role": "user", "content": "hi", "images": ["aGk="]}, True),
        ({"role": "assistant", "content": None}, True),
        ("no message", True),
    ],
)
def test_one_look_finds_the_messages_that_want_reading(message, special):
    plain = msgspec.Raw(b'{"role":"user","content":"hi"}')
    assert may_be_special([plain, msgspec.Raw(msgspec.json.encode(message))]) == special


def test_images_are_measured_and_anything_else_is_refused():
    assert image_size("aGVsbG8=", "no") == 5
    assert image_url_size("data:image/png;base64,aGVsbG8=", "no") == 5
    assert image_url_size("https://example.com/a.png", "no") == URL_BYTES
    for bad in ("data:image/png,plain", "aGVsbG8=", "data:image/png;base64,***", "data:image/png;base64,"):
        with pytest.raises(Refusal, match="no"):
            image_url_size(bad, "no")


def test_a_reader_that_trips_over_a_shape_refuses_it():
    with pytest.raises(Refusal, match="malformed request"):
        refuses_malformed(lambda value: value["a"])({})
