"""Pure. A script in Ollama's own words: dated lines, calls complete in one line with their arguments as objects.

Source as in `ollama.py`; `function.index` and call ids since 0.13. A call's tokens are decoded, and counted, before
anything of it is seen: a call that the limit cuts off is never seen. /api/generate ends with `context`.
"""

import json
from collections.abc import Callable
from typing import Any

import msgspec

from bench.backends.scripts import CALL, LENGTH, STOP, TEXT, Script, Token
from bench.backends.work import escape_template

Json = dict[str, Any]
# (content, thinking, calls) -> the fields in which an endpoint carries them
Fields = Callable[[str, str, list[Json]], Json]


def chat_fields(content: str, thinking: str, calls: list[Json]) -> Json:
    message: Json = {"role": "assistant", "content": content}
    message |= {"thinking": thinking} if thinking else {}
    return {"message": message | ({"tool_calls": calls} if calls else {})}


def generate_fields(content: str, thinking: str, _calls: list[Json]) -> Json:
    return {"response": content} | ({"thinking": thinking} if thinking else {})


def done_reason(script: Script) -> str:
    return LENGTH if script.finish == LENGTH else STOP


def call_id(work_id: str, number: int) -> str:
    return f"call_{work_id.rpartition('-')[2]:0>6}{number:02x}"


def describe_call(work_id: str, script: Script, number: int) -> Json:
    call = script.calls[number]
    function = {"index": number, "name": call.name, "arguments": json.loads(call.arguments)}
    return {"id": call_id(work_id, number), "function": function}


def script_events(model: str, work_id: str, script: Script, fields: Fields) -> tuple[tuple[bytes, ...], ...]:
    """Per token the templates of its lines, which have one %b for the date."""

    def line(token: Token) -> tuple[bytes, ...]:
        if token.kind == CALL:
            if not token.is_last:
                return ()
            carried = fields("", "", [describe_call(work_id, script, token.call)])
        else:
            carried = fields(token.text, "", []) if token.kind == TEXT else fields("", token.text, [])
        return (_dated_template({"model": model, "created_at": "@@DATE@@"} | carried | {"done": False}),)

    return tuple(map(line, script.tokens))


def _dated_template(event: Json) -> bytes:
    # Only the first: what a prompt made the model say may look the same.
    return escape_template(msgspec.json.encode(event) + b"\n").replace(b"@@DATE@@", b"%b", 1)


def whole_fields(work_id: str, script: Script, fields: Fields) -> Json:
    calls = [describe_call(work_id, script, number) for number, _ in script.whole_calls]
    return fields(script.text, script.thinking, calls)
