"""Pure. Requests that are forms: a file to transcribe, to translate or to edit, and fields beside it.

They are looked at as shallowly as JSON is (`shallow.py`): which model, and whether the answer is a stream.
Source: OpenAI API reference, "Audio" and "Images" (2026); vLLM `entrypoints/openai/speech_to_text/protocol.py` (2026).
Read next: `wire/multipart.py`, which finds the fields.
"""

from mrproxy.canonical.request import Request, Shape
from mrproxy.errors import ClientError, Code
from mrproxy.wire.multipart import Field, scan_form

# What pydantic reads as true in a form, and so vLLM.
_TRUE = frozenset({b"true", b"t", b"1", b"on", b"yes", b"y"})


class FormRequest(Request):
    """`body` is the form as it came."""

    __slots__ = ("_model_field",)

    def __init__(self, model: str, body: bytes, shape: Shape, prompt_bytes: int, model_field: Field) -> None:
        super().__init__(model, body, shape, prompt_bytes, 0, False)
        self._model_field = model_field

    def renamed(self, model: str) -> bytes:
        """The form with another model name; its other bytes stay as they are."""
        field = self._model_field
        return b"".join((self.body[: field.start], model.encode(), self.body[field.end :]))


def decode_form(body: bytes, boundary: bytes) -> FormRequest:
    """Raises ClientError."""
    try:
        fields = scan_form(body, boundary)
    except ValueError as exc:
        raise ClientError(Code.BAD_REQUEST, f"the body is no multipart/form-data as it should be: {exc}") from None
    field = _model_field(fields)
    try:
        model = body[field.start : field.end].decode()
    except UnicodeDecodeError:
        raise ClientError(Code.INVALID_FIELD, "invalid value for 'model': not UTF-8", param="model") from None
    if not model:
        raise _missing_model()
    texts = [each for each in fields if not each.is_file]
    streams = any(each.name == "stream" and body[each.start : each.end].lower() in _TRUE for each in texts)
    prompt_bytes = sum([each.end - each.start for each in texts])
    return FormRequest(model, body, Shape.SSE if streams else Shape.JSON, prompt_bytes, field)


def _model_field(fields: list[Field]) -> Field:
    """The one that says which model, whoever reads it."""
    found = [field for field in fields if field.name.lower() == "model"]
    if not found:
        raise _missing_model()
    if len(found) > 1 or found[0].name != "model":
        raise ClientError(Code.INVALID_FIELD, "more than one spelling of model", param="model")
    if found[0].is_file or not found[0].is_plain:
        raise ClientError(Code.INVALID_FIELD, "invalid value for 'model': not plain text", param="model")
    return found[0]


def _missing_model() -> ClientError:
    return ClientError(Code.MISSING_FIELD, "you must provide a model parameter", param="model")
