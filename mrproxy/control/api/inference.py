"""Pure. What the front door serves itself and the control plane only describes: paths, content types, summaries.

The routes are those of `mrproxy/dialects/routes.py`; a test compares. What bodies look like is for OpenAI, Anthropic
and Ollama to say: docs/dialects.md has what is done with each field.
"""

from dataclasses import dataclass

JSON = "application/json"
EVENTS = "text/event-stream"
LINES = "application/x-ndjson"
FORM = "multipart/form-data"
TEXT = "text/plain"
AUDIO = "audio/mpeg"


@dataclass(frozen=True, slots=True)
class Exchange:
    """`takes` and `answers` are content types; nothing to take is a GET."""

    method: str
    path: str
    summary: str
    tag: str
    takes: tuple[str, ...] = ()
    answers: tuple[str, ...] = (JSON,)
    is_public: bool = False


def _post(path: str, summary: str, tag: str, *answers: str, takes: str = JSON) -> Exchange:
    return Exchange("POST", path, summary, tag, (takes,), answers or (JSON,))


def _get(path: str, summary: str, tag: str) -> Exchange:
    return Exchange("GET", path, summary, tag)


_OPENAI, _ANTHROPIC, _OLLAMA, _GATEWAY = "OpenAI", "Anthropic", "Ollama", "gateway"

INFERENCE: tuple[Exchange, ...] = (
    _post("/v1/chat/completions", "Chat", _OPENAI, JSON, EVENTS),
    _post("/v1/completions", "Complete a text", _OPENAI, JSON, EVENTS),
    _post("/v1/embeddings", "Embeddings", _OPENAI),
    _post("/v1/audio/speech", "Speak", _OPENAI, AUDIO),
    _post("/v1/audio/transcriptions", "Transcribe", _OPENAI, JSON, TEXT, EVENTS, takes=FORM),
    _post("/v1/audio/translations", "Translate speech", _OPENAI, JSON, TEXT, takes=FORM),
    _post("/v1/images/generations", "Make images", _OPENAI),
    _post("/v1/images/edits", "Edit images", _OPENAI, takes=FORM),
    _post("/v1/rerank", "Rank documents by a query", _OPENAI),
    _post("/v1/score", "Score pairs of texts", _OPENAI),
    _post("/v1/moderations", "Classify a text", _OPENAI),
    _get("/v1/models", "List models; Anthropic's list for who sends `anthropic-version`", _OPENAI),
    _get("/v1/models/{model}", "One model", _OPENAI),
    _post("/v1/responses", "Respond", _OPENAI, JSON, EVENTS),
    _get("/v1/responses/{response}", "A stored response", _OPENAI),
    Exchange("DELETE", "/v1/responses/{response}", "Forget a stored response", _OPENAI),
    _get("/v1/responses/{response}/input_items", "What a stored response was asked", _OPENAI),
    _post("/v1/conversations", "Begin a conversation", _OPENAI),
    _get("/v1/conversations/{conversation}", "A conversation", _OPENAI),
    _post("/v1/conversations/{conversation}", "Change what is noted of a conversation", _OPENAI),
    Exchange("DELETE", "/v1/conversations/{conversation}", "Forget a conversation", _OPENAI),
    _get("/v1/conversations/{conversation}/items", "What was said", _OPENAI),
    _post("/v1/conversations/{conversation}/items", "Add to what was said", _OPENAI),
    _get("/v1/conversations/{conversation}/items/{item}", "One item", _OPENAI),
    Exchange("DELETE", "/v1/conversations/{conversation}/items/{item}", "Forget one item", _OPENAI),
    _post("/v1/messages", "Messages", _ANTHROPIC, JSON, EVENTS),
    _post("/v1/messages/count_tokens", "Count the tokens of messages", _ANTHROPIC),
    _post("/anthropic/v1/messages", "Messages", _ANTHROPIC, JSON, EVENTS),
    _post("/anthropic/v1/messages/count_tokens", "Count the tokens of messages", _ANTHROPIC),
    _get("/anthropic/v1/models", "List models", _ANTHROPIC),
    _get("/anthropic/v1/models/{model}", "One model", _ANTHROPIC),
    _post("/api/chat", "Chat", _OLLAMA, LINES, JSON),
    _post("/api/generate", "Complete a text", _OLLAMA, LINES, JSON),
    _post("/api/embed", "Embeddings", _OLLAMA),
    _post("/api/embeddings", "One embedding", _OLLAMA),
    _post("/api/show", "One model", _OLLAMA),
    _get("/api/tags", "List models", _OLLAMA),
    _get("/api/ps", "List models that are loaded", _OLLAMA),
    _get("/api/version", "The version", _OLLAMA),
    Exchange("GET", "/healthz", "Whether the control plane answers", _GATEWAY, is_public=True),
    Exchange("GET", "/readyz", "Whether requests should be sent here; 503 if not", _GATEWAY, is_public=True),
    Exchange("GET", "/status", "The whole gateway at a glance", _GATEWAY, is_public=True),
    Exchange("GET", "/metrics", "Prometheus' text, or OpenMetrics", _GATEWAY, answers=(TEXT,), is_public=True),
)
