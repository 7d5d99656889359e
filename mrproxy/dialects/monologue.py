"""Pure. A completion as a chat of one turn, for engines that only chat, or where the chat template is to be applied.

Ollama's /api/generate applies the model's chat template unless it is told `raw`; to an engine of another kind that
means a chat. `/v1/completions` to an engine that has no completions (Anthropic's) becomes one, too, with a warning: the
text is then an answer to the prompt and not its continuation.
"""

from mrproxy.canonical.conversation import ChatRequest, Generating, Message, Part, Role, Text, TextRequest
from mrproxy.errors import ClientError, Code


def as_chat(request: TextRequest) -> ChatRequest:
    """Raises ClientError for what a chat cannot be told."""
    if len(request.prompts) != 1:
        raise _refusal("prompt", "several prompts in one request")
    prompt = request.prompts[0]
    if not isinstance(prompt, str):
        raise _refusal("prompt", "a prompt of token ids")
    if request.suffix:
        raise _refusal("suffix", "filling in before a suffix")
    if request.template:
        raise _refusal("template", "a prompt template")
    if request.context:
        raise _refusal("context", "the token ids of an earlier answer")
    if request.echo:
        raise _refusal("echo", "repeating the prompt")
    if request.best_of is not None and request.best_of > 1:
        raise _refusal("best_of", "choosing the best of several")
    parts: tuple[Part, ...] = ((Text(prompt),) if prompt else ()) + request.images
    messages: tuple[Message, ...] = (Message(Role.USER, parts),)
    if request.system:
        messages = (Message(Role.SYSTEM, (Text(request.system),)), *messages)
    warnings = request.warnings
    if request.raw:
        warnings += ("the prompt is sent as a chat message: this backend has no completions",)
    shared = {name: getattr(request, name) for name in Generating.__struct_fields__}
    return ChatRequest(messages=messages, **shared | {"warnings": warnings})


def _refusal(field: str, what: str) -> ClientError:
    return ClientError(
        Code.INVALID_FIELD, f"'{field}': the backend of this model does not do that ({what})", param=field
    )
