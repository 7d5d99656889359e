import json

from hypothesis import given
from hypothesis import strategies as st

from bench.backends.prompts import Conversation, Prompt
from bench.backends.scripts import CALL, split_tokens, write_script

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def script(text="hello", results=(), images=(), **fields):
    heard = Conversation()
    heard.hear_user(text)
    for result in results:
        heard.hear_result(result)
    heard.images.extend(images)
    return write_script(Prompt(heard, **fields))


@given(st.text())
def test_tokens_are_the_whole_text(text):
    assert "".join(split_tokens(text)) == text
    assert all(split_tokens(text))


def test_without_a_rule_the_answer_tells_what_was_understood():
    assert script().text == "You said: hello"
    assert script(images=(5, -1)).text == "Images: 2 (5 bytes, a URL). You said: hello"
    assert script(results=("sunny", "12:00")).text == "The tools said: sunny; 12:00"
    assert script("say:grüß dich\nand more").text == "grüß dich"
    assert script("say:cached").is_cached


def test_thinking_comes_first_and_is_counted():
    made = script(effort="high")
    assert made.thinking == "Thinking (high): the user said 5 characters."
    assert made.reasoning_tokens == sum(token.kind == "thinking" for token in made.tokens) > 0
    assert made.text == "You said: hello"


def test_calls_take_their_arguments_from_the_schema_or_the_prompt():
    made = script('call:a call:b{"x":1}', tools={"a": SCHEMA, "b": None})
    assert [(call.name, json.loads(call.arguments)) for call in made.calls] == [
        ("a", {"city": "city"}),
        ("b", {"x": 1}),
    ]
    assert (made.text, made.finish) == ("", "tool_calls")
    assert [number for number, _ in made.whole_calls] == [0, 1]
    assert script("call:c", tools={"c": None}).calls[0].arguments == "{}"


def test_a_text_that_is_asked_for_stands_before_the_calls():
    text = "say:I shall look.\ncall:a{}"
    made = script(text, tools={"a": None})
    assert (made.text, [call.name for call in made.calls], made.finish) == ("I shall look.", ["a"], "tool_calls")
    assert [token.kind for token in made.tokens[-2:]] == [CALL, CALL]
    forced = script(text, tools={"a": None}, forced="a")
    assert (forced.text, [call.name for call in forced.calls]) == ("", ["a"])
    stopped = script(text, tools={"a": None}, stops=("look",))
    assert (stopped.text, stopped.calls, stopped.finish) == ("I shall ", (), "stop_sequence")


def test_a_limit_is_kept_to_the_token_and_cuts_a_call_off():
    made = script("call:a", tools={"a": SCHEMA}, limit=3)
    assert (len(made.tokens), made.finish, made.whole_calls) == (3, "length", [])
    assert {token.kind for token in made.tokens} == {CALL}
    for limit in range(1, len(script().tokens)):
        assert len(script(limit=limit).tokens) == limit
        assert script(limit=limit).finish == "length"
    assert script(limit=100).finish == "stop"


def test_the_first_stop_sequence_ends_the_text():
    made = script("say:one two three", stops=("three", "two", ""))
    assert (made.text, made.finish, made.stop_sequence) == ("one ", "stop_sequence", "two")
    nothing = script("say:one", stops=("one",))
    assert (nothing.text, len(nothing.tokens)) == ("", 1)


def test_structured_answers_fit_unless_told_not_to():
    assert json.loads(script(schema=SCHEMA).text) == {"city": "city"}
    assert json.loads(script(schema=True).text) == {"answer": "hello"}
    assert json.loads(script("break-schema", schema=SCHEMA).text) == ["broken"]
    assert script("break-schema", schema=True).text == "this is not JSON"
    assert script("break-json", schema=SCHEMA).text == '{"city": "city"'
    assert script("break-json", schema={"type": "integer"}).text == "{"
