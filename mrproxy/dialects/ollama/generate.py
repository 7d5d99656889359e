"""Pure. /api/generate, both ways. How answers are read: `lines.py`; how they are written: `writing.py`.

A prompt is wrapped in the model's template unless `raw`. `suffix` is what a template for infilling puts behind the
answer, so that it cannot be raw. Engines that apply templates to chats only are asked by way of `monologue.py`.
Sources: ollama docs/api.md, api/types.go (GenerateRequest), server/routes.go (GenerateHandler), v0.17.4
(February 2026).
"""

import msgspec

from mrproxy.canonical.conversation import TextRequest
from mrproxy.dialects.codec import AnswerContext, Encoded, Target
from mrproxy.dialects.ollama.fields import TEXTS, Fields, invalid
from mrproxy.dialects.ollama.lines import Answer, DocumentDecoder, StreamDecoder
from mrproxy.dialects.ollama.messages import checked_image, read_images
from mrproxy.dialects.ollama.requests import write_wishes
from mrproxy.dialects.ollama.wishes import read_format, read_keep_alive, read_options, read_think
from mrproxy.dialects.ollama.writing import COMPLETION, DocumentEncoder, StreamEncoder

_token_ids = msgspec.json.Decoder(tuple[int, ...])


def decode_text(body: bytes) -> TextRequest:
    """Raises ClientError. Ollama streams unless told not to."""
    fields = Fields(body)
    options = read_options(fields)
    request = TextRequest(
        model=fields.model(),
        prompts=(fields.text("prompt") or "",),
        raw=fields.flag("raw") is True,
        suffix=fields.text("suffix"),
        system=fields.text("system"),
        template=fields.text("template"),
        context=fields.take("context", _token_ids) or (),
        images=read_images(fields.take("images", TEXTS), "images"),
        sampling=options.sampling,
        response_format=read_format(fields),
        thinking=read_think(fields),
        streams=fields.flag("stream") is not False,
        keep_alive=read_keep_alive(fields),
        context_length=options.context_length,
        engine_options=options.engine_options,
        extras=fields.rest(),
    )
    if request.raw and (request.template or request.system or request.context):
        raise invalid("raw", "raw mode does not support template, system, or context")
    return request


def encode_text(request: TextRequest, target: Target) -> Encoded:
    """Raises ClientError for what cannot be said to Ollama without changing its meaning."""
    warnings: list[str] = []
    body: dict[str, object] = {"model": target.model, "prompt": _prompt(request)}
    if request.echo:
        raise invalid("echo", "Ollama does not repeat the prompt")
    if request.best_of is not None and request.best_of > 1:
        warnings.append("best_of is ignored: Ollama has none")
    if request.raw and not request.suffix:
        body["raw"] = True
    for name in ("suffix", "system", "template", "context"):
        value = getattr(request, name)
        if value:
            body[name] = value
    if request.images:
        body["images"] = [checked_image(image, "images").data for image in request.images]
    write_wishes(request, target, body, warnings)
    return Encoded(msgspec.json.encode(body), tuple(warnings))


def _prompt(request: TextRequest) -> str:
    if len(request.prompts) != 1:
        raise invalid("prompt", "Ollama takes one prompt at a time")
    prompt = request.prompts[0]
    if not isinstance(prompt, str):
        raise invalid("prompt", "Ollama takes prompts as text, not as tokens")
    return prompt


class TextStreamDecoder(StreamDecoder):
    __slots__ = ()

    def __init__(self, request_id: str) -> None:
        super().__init__(Answer(request_id, is_completion=True))


class TextDocumentDecoder(DocumentDecoder):
    __slots__ = ()

    def __init__(self, request_id: str) -> None:
        super().__init__(Answer(request_id, is_completion=True))


class TextStreamEncoder(StreamEncoder):
    __slots__ = ()

    def __init__(self, context: AnswerContext) -> None:
        super().__init__(context, COMPLETION)


class TextDocumentEncoder(DocumentEncoder):
    __slots__ = ()

    def __init__(self, context: AnswerContext) -> None:
        super().__init__(context, COMPLETION)
