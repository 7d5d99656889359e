"""Pure. What an engine said in an error answer, whatever its dialect: for callers who speak another one.

OpenAI, vLLM, llama.cpp, Anthropic   {"error": {"message": "…"}}        (vLLM before 0.10: {"message": "…"})
Ollama                               {"error": "…"}
FastAPI                              {"detail": "…"} or a list of {"loc", "msg"}
"""

import msgspec

from mrproxy.dialects.unreadable import UNREADABLE

_MAX_CHARACTERS = 2000
_object = msgspec.json.Decoder(dict[str, object])


def read_error_message(body: bytes) -> str:
    """Empty if there is none to be found; HTML and other pages are not quoted."""
    try:
        fields = _object.decode(body)
    except UNREADABLE:
        return ""
    return _text(fields.get("error")) or _text(fields.get("message")) or _text(fields.get("detail"))


def _text(value: object) -> str:
    match value:
        case str():
            return value[:_MAX_CHARACTERS]
        case {"message": str(message)} | {"msg": str(message)}:
            return message[:_MAX_CHARACTERS]
        case [first, *_]:
            return _text(first)
    return ""
