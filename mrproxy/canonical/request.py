"""Pure. A decoded request, as far as the straight lane needs to know it.

The body stays bytes: only what routing, limits and accounting need was looked at (`dialects/shallow.py`).
"""

import enum


class Operation(enum.StrEnum):
    """What is asked. The names appear in the journal."""

    CHAT = "chat"
    COMPLETIONS = "completions"
    MESSAGES = "messages"
    COUNT_TOKENS = "count_tokens"
    RESPONSES = "responses"
    EMBEDDINGS = "embeddings"
    SPEECH = "speech"
    TRANSCRIPTIONS = "transcriptions"
    TRANSLATIONS = "translations"
    IMAGES = "images"
    IMAGE_EDITS = "image_edits"
    RERANK = "rerank"
    SCORE = "score"
    MODERATIONS = "moderations"
    GENERATE = "generate"
    EMBED = "embed"
    SHOW = "show"
    LIST_MODELS = "list_models"
    GET_MODEL = "get_model"
    LIST_RUNNING = "list_running"
    VERSION = "version"
    GREETING = "greeting"
    PREFLIGHT = "preflight"
    GET_RESPONSE = "get_response"
    DELETE_RESPONSE = "delete_response"
    LIST_INPUT_ITEMS = "list_input_items"
    CREATE_CONVERSATION = "create_conversation"
    GET_CONVERSATION = "get_conversation"
    UPDATE_CONVERSATION = "update_conversation"
    DELETE_CONVERSATION = "delete_conversation"
    CREATE_ITEMS = "create_items"
    LIST_ITEMS = "list_items"
    GET_ITEM = "get_item"
    DELETE_ITEM = "delete_item"


FORMS = frozenset({Operation.TRANSCRIPTIONS, Operation.TRANSLATIONS, Operation.IMAGE_EDITS})
"""Requests that are multipart/form-data; all others are JSON."""

MEDIA = FORMS | {Operation.SPEECH, Operation.IMAGES, Operation.RERANK, Operation.SCORE, Operation.MODERATIONS}
"""What passes as it is or not at all: OpenAI's shapes, which no other dialect has."""


class Shape(enum.Enum):
    """How the answer's body is written, which decides how its usage is found."""

    JSON = enum.auto()
    SSE = enum.auto()
    NDJSON = enum.auto()


class Request:
    """`body` is what a backend gets; `prompt_bytes` sizes the prompt for the cost estimate.

    `cuts_usage`: the caller did not ask for the usage event that the proxy asked the backend for.
    `max_tokens` bounds the completion; None when the caller set no bound.
    """

    __slots__ = ("body", "cuts_usage", "max_tokens", "model", "prompt_bytes", "shape")

    def __init__(
        self, model: str, body: bytes, shape: Shape, prompt_bytes: int, max_tokens: int | None, cuts_usage: bool
    ) -> None:
        self.model = model
        self.body = body
        self.shape = shape
        self.prompt_bytes = prompt_bytes
        self.max_tokens = max_tokens
        self.cuts_usage = cuts_usage

    @property
    def streams(self) -> bool:
        return self.shape is not Shape.JSON
