"""Pure. What an assistant's items say in one turn, as messages: for items that come in and for those that go out.

Reasoning, text and calls of one turn are joined, because a chat engine refuses a tool's result that does not follow the
message with its call. The rule: reasoning or a text begins a new message if the turn has said something and has called
nothing yet; everything else joins. So an answer given back as input becomes the messages that were stored of it.
"""

from collections.abc import Iterable

from mrproxy.canonical.conversation import (
    Message,
    Part,
    RedactedThinking,
    Refusal,
    Role,
    Text,
    Thinking,
    ToolCall,
)


class AssistantTurn:
    """Parts between two inputs."""

    __slots__ = ("_has_called", "_has_said", "_messages", "_parts")

    def __init__(self) -> None:
        self._messages: list[Message] = []
        self._parts: list[Part] = []
        self._has_said = False
        self._has_called = False

    def say(self, parts: Iterable[Text | Refusal]) -> None:
        self._begin_saying()
        self._parts.extend(parts)
        self._has_said = True

    def think(self, part: Thinking | RedactedThinking) -> None:
        self._begin_saying()
        self._parts.append(part)

    def call(self, part: ToolCall) -> None:
        self._parts.append(part)
        self._has_called = True

    def end(self) -> list[Message]:
        """The turn's messages; the next one begins."""
        self._end_message()
        messages, self._messages = self._messages, []
        return messages

    def _begin_saying(self) -> None:
        if self._has_said and not self._has_called:
            self._end_message()

    def _end_message(self) -> None:
        if self._parts:
            self._messages.append(Message(Role.ASSISTANT, tuple(self._parts)))
        self._parts = []
        self._has_said = self._has_called = False
