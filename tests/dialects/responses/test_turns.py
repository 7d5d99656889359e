"""Which parts of an assistant's turn make one message."""

from mrproxy.canonical.conversation import Message, Refusal, Role, Text, Thinking, ToolCall
from mrproxy.dialects.responses.turns import AssistantTurn

CALL, CALL_2 = ToolCall("a", "f", "{}"), ToolCall("b", "f", "{}")


def test_thinking_text_and_calls_are_one_message() -> None:
    turn = AssistantTurn()
    turn.think(Thinking("t"))
    turn.say([Text("x"), Refusal("y")])
    turn.call(CALL)
    turn.call(CALL_2)
    assert turn.end() == [Message(Role.ASSISTANT, (Thinking("t"), Text("x"), Refusal("y"), CALL, CALL_2))]
    assert turn.end() == []


def test_two_texts_are_two_messages() -> None:
    turn = AssistantTurn()
    turn.say([Text("x")])
    turn.say([Text("y")])
    turn.think(Thinking("t"))
    turn.say([Text("z")])
    assert [message.parts for message in turn.end()] == [(Text("x"),), (Text("y"),), (Thinking("t"), Text("z"))]


def test_after_a_call_everything_joins_until_its_result() -> None:
    turn = AssistantTurn()
    turn.say([Text("x")])
    turn.call(CALL)
    turn.think(Thinking("t"))
    turn.say([Text("y")])
    turn.call(CALL_2)
    assert len(turn.end()) == 1
    turn.call(CALL)
    assert turn.end() == [Message(Role.ASSISTANT, (CALL,))]
