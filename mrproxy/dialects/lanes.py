"""Pure. The lane of an attempt: do bytes pass as they are, or is the request translated? Decided here and nowhere else.

    straight      the backend serves the caller's own surface: its bytes go through, shallowly looked at
    translating   it does not, or the bytes could not do what was asked: decoded and encoded anew, both ways

Read next: `translation.py`, the other lane's machinery; `mrproxy/attempts.py`, which asks.
"""

import enum
from collections.abc import Set as AbstractSet

import msgspec

from mrproxy.canonical.request import MEDIA, Operation
from mrproxy.canonical.surface import NATIVE, Surface
from mrproxy.dialects.ollama.compatibility import passes_over
from mrproxy.dialects.unreadable import UNREADABLE


class Lane(enum.StrEnum):
    """As in the journal, and in the header `x-mrproxy-lane`."""

    STRAIGHT = "straight"
    TRANSLATING = "translating"


def choose_lane(
    surface: Surface,
    native: AbstractSet[Surface],
    body: bytes,
    *,
    is_checked: bool = False,
    has_context_length: bool = False,
    kind: str = "",
) -> Lane:
    """`native`: what the backend serves. `is_checked`: the caller wants its structured output checked on the way out.

    `has_context_length`: a context length is configured for the model on this Ollama backend. Only Ollama's own surface
    can say it (`options.num_ctx`); without it a request through `/v1` makes Ollama load the model anew.
    `kind`: of the backend. Ollama passes over what its surfaces for other dialects do not know, and fetches no images
    (`ollama/compatibility.py`). Only Anthropic's own service holds the conversation of a `thread`: other engines do not
    know the field, and would answer to the end of a conversation alone; the translating lane says so to the SDKs.
    """
    if surface is Surface.MEDIA:
        return Lane.STRAIGHT  # it never goes where this is not served: `can_serve`
    if surface not in native or is_checked:
        return Lane.TRANSLATING
    if kind == "ollama" and surface is not Surface.OLLAMA and (has_context_length or passes_over(surface, body)):
        return Lane.TRANSLATING
    if surface is Surface.RESPONSES and not _is_stateless(body):
        return Lane.TRANSLATING
    if surface is Surface.MESSAGES and kind != "anthropic" and _has_thread(body):
        return Lane.TRANSLATING
    return Lane.STRAIGHT


_NULL = msgspec.Raw(b"null")


class _State(msgspec.Struct, gc=False):
    store: bool | None = None
    previous_response_id: str | None = None
    conversation: msgspec.Raw = _NULL


_state = msgspec.json.Decoder(_State)


def _is_stateless(body: bytes) -> bool:
    """What is to be stored, or refers to what is, is ours: it must be found again whichever backend answers next."""
    try:
        state = _state.decode(body)
    except UNREADABLE:
        return True  # whoever reads it will say what is wrong
    return state.store is False and state.previous_response_id is None and state.conversation == _NULL


class _Threaded(msgspec.Struct, gc=False):
    thread: msgspec.Raw = _NULL


_threaded = msgspec.json.Decoder(_Threaded)


def _has_thread(body: bytes) -> bool:
    try:
        return _threaded.decode(body).thread != _NULL
    except UNREADABLE:
        return False  # whoever reads it will say what is wrong


def can_serve(kind: str, operation: Operation) -> bool:
    """Whether a backend of this kind can do it in some lane."""
    match operation:
        case Operation.SHOW:
            return kind == "ollama"
        case Operation.COUNT_TOKENS:
            return kind == "anthropic"
    if operation in MEDIA:
        return Surface.MEDIA in NATIVE.get(kind, ())
    return operation not in _EMBEDDINGS or kind != "anthropic"  # Anthropic has no embeddings API


_EMBEDDINGS = frozenset({Operation.EMBEDDINGS, Operation.EMBED})
