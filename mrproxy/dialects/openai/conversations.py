"""Pure. Messages as an engine with OpenAI's dialect reads them. `messages.py` is the way here.

What a chat template cannot hold is said otherwise: several system prompts at the beginning become one, a developer is
the system, a refusal is text. A tool answers in text alone, so its images follow in a user's message, after all
results of the turn (OpenAI demands that nothing stands between them).
Sources: OpenAI API reference, "Create chat completion" (2026); llama.cpp server-common.cpp, vLLM chat_utils.py (2026).
"""

from collections.abc import Sequence

from mrproxy.canonical.conversation import (
    Audio,
    File,
    Image,
    Message,
    Part,
    RedactedThinking,
    Refusal,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from mrproxy.dialects.media import data_url_of
from mrproxy.dialects.openai.engines import Engine
from mrproxy.dialects.openai.fields import invalid

_INSTRUCTIONS = (Role.SYSTEM, Role.DEVELOPER)


def write_messages(messages: Sequence[Message], engine: Engine, warnings: list[str]) -> list[dict[str, object]]:
    """Raises ClientError for a part that the engine cannot be given."""
    return _Writer(engine, warnings).write(messages)


class _Writer:
    """`shown`: what tools showed besides text, to be said after the last result of this turn."""

    def __init__(self, engine: Engine, warnings: list[str]) -> None:
        self.engine = engine
        self.warnings = warnings
        self.shown: list[dict[str, object]] = []
        self.written: list[dict[str, object]] = []

    def write(self, messages: Sequence[Message]) -> list[dict[str, object]]:
        rest = self._write_instructions(messages) if self.engine.is_template_based else 0
        for number, message in enumerate(messages[rest:], rest):
            if message.role is Role.TOOL:
                self._write_results(message, number)
                continue
            self._write_shown()
            if message.role is Role.ASSISTANT:
                self._write_assistant(message, number)
            else:
                self._write_turn(message, number)
        self._write_shown()
        return self.written

    def _write_instructions(self, messages: Sequence[Message]) -> int:
        """Templates take one system prompt, at the beginning. Returns how many messages it was made from."""
        count = next((n for n, message in enumerate(messages) if message.role not in _INSTRUCTIONS), len(messages))
        texts = [part.text for message in messages[:count] for part in message.parts if isinstance(part, Text)]
        if count < 2 or len(texts) < sum(len(message.parts) for message in messages[:count]):
            return 0
        self.written.append({"role": "system", "content": "\n\n".join(texts)})
        return count

    def _write_turn(self, message: Message, number: int) -> None:
        role = message.role
        if role is Role.DEVELOPER and self.engine.is_template_based:
            role = Role.SYSTEM
        turn: dict[str, object] = {"role": role.value, "content": self._content(message.parts, number)}
        if message.name is not None:
            turn["name"] = message.name
        self.written.append(turn)

    def _write_assistant(self, message: Message, number: int) -> None:
        calls = [_write_call(part) for part in message.parts if isinstance(part, ToolCall)]
        thoughts = [part.text for part in message.parts if isinstance(part, Thinking)]
        said = [part for part in message.parts if not isinstance(part, ToolCall | Thinking | RedactedThinking)]
        turn: dict[str, object] = {"role": "assistant", "content": self._content(said, number)}
        if calls:
            turn["tool_calls"] = calls
            if not said:
                turn["content"] = None
        if message.name is not None:
            turn["name"] = message.name
        if any(isinstance(part, RedactedThinking) for part in message.parts):
            self._warn("redacted thinking of earlier turns is not sent: only its provider can read it")
        if thoughts and self.engine.is_template_based:
            turn["reasoning_content"] = "\n".join(thoughts)
        elif thoughts:  # an unknown field in a message is a 400 there
            self._warn(f"thinking of earlier turns is not sent: {self.engine.label} has no field for it")
        self.written.append(turn)

    def _content(self, parts: Sequence[Part], number: int) -> object:
        """A text alone is a string."""
        if not parts:
            return ""
        if len(parts) == 1 and isinstance(parts[0], Text):
            return parts[0].text
        return [self._part(part, f"messages[{number}].content[{place}]") for place, part in enumerate(parts)]

    def _part(self, part: Part, param: str) -> dict[str, object]:
        match part:
            case Text():
                return {"type": "text", "text": part.text}
            case Image():
                return _write_image(part)
            case Audio():
                return {"type": "input_audio", "input_audio": {"data": part.data, "format": part.format}}
            case File():
                return self._file(part, param)
            case Refusal() if self.engine.is_template_based:
                return {"type": "text", "text": part.text}
            case Refusal():
                return {"type": "refusal", "refusal": part.text}
            case Thinking() | RedactedThinking() | ToolCall() | ToolResult():
                raise AssertionError(f"no message but an assistant's or a tool's has {part!r}")

    def _file(self, file: File, param: str) -> dict[str, object]:
        """Raises ClientError for a file that the engine cannot be given."""
        if file.text:
            return {"type": "text", "text": f"{file.name}:\n{file.text}" if file.name else file.text}
        if not self.engine.has_files:
            raise invalid(param, f"{self.engine.label} cannot read files")
        if file.url:
            raise invalid(param, f"{self.engine.label} takes files as data, not as a URL")
        said: dict[str, object] = {}
        if file.data:
            said["file_data"] = f"data:{file.media_type};base64,{file.data}" if file.media_type else file.data
        if file.name:
            said["filename"] = file.name
        if file.file_id:
            said["file_id"] = file.file_id
        return {"type": "file", "file": said}

    def _write_results(self, message: Message, number: int) -> None:
        for result in message.parts:
            if isinstance(result, ToolResult):
                self._write_result(result, number)

    def _write_result(self, result: ToolResult, number: int) -> None:
        texts = [part for part in result.parts if isinstance(part, Text)]
        turn: dict[str, object] = {
            "role": "tool",
            "tool_call_id": result.call_id,
            "content": self._content(texts, number),
        }
        if result.name and self.engine.is_template_based:
            turn["name"] = result.name
        if result.is_error:
            self._warn(f"is_error is not sent: {self.engine.label} has none; the tool's text must tell")
        self.written.append(turn)
        shown = [part for part in result.parts if not isinstance(part, Text)]
        if shown:
            self.shown.append({"type": "text", "text": f"Shown by the tool call {result.call_id}:"})
            self.shown.extend(
                self._part(part, f"messages[{number}].content[{place}]") for place, part in enumerate(shown)
            )

    def _write_shown(self) -> None:
        if self.shown:
            self.written.append({"role": "user", "content": self.shown})
            self.shown = []

    def _warn(self, warning: str) -> None:
        if warning not in self.warnings:
            self.warnings.append(warning)


def _write_call(call: ToolCall) -> dict[str, object]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _write_image(image: Image) -> dict[str, object]:
    said: dict[str, object] = {"url": data_url_of(image)}
    if image.detail is not None:
        said["detail"] = image.detail
    return {"type": "image_url", "image_url": said}
