"""The table of paths: who answers what, and how what is wrong is said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.canonical.request import Operation
from mrproxy.canonical.surface import Surface
from mrproxy.dialects.routes import CONTROL, Route, Way, find_route
from tests.fuzzing import fuzz


def route(line: str, accept: bytes | None = None, anthropic_version: bytes | None = None) -> Route:
    method, _, path = line.partition(" ")
    return find_route(method.encode(), path.encode(), accept, anthropic_version)


@pytest.mark.parametrize(
    ("line", "way", "dialect", "operation"),
    [
        ("POST /v1/chat/completions", Way.RELAY, "openai", Operation.CHAT),
        ("POST /v1/completions", Way.RELAY, "openai", Operation.COMPLETIONS),
        ("POST /v1/embeddings", Way.RELAY, "openai", Operation.EMBEDDINGS),
        ("POST /v1/audio/speech", Way.RELAY, "openai", Operation.SPEECH),
        ("POST /v1/audio/transcriptions", Way.RELAY, "openai", Operation.TRANSCRIPTIONS),
        ("POST /v1/audio/translations", Way.RELAY, "openai", Operation.TRANSLATIONS),
        ("POST /v1/images/generations", Way.RELAY, "openai", Operation.IMAGES),
        ("POST /v1/images/edits", Way.RELAY, "openai", Operation.IMAGE_EDITS),
        ("POST /v1/rerank", Way.RELAY, "openai", Operation.RERANK),
        ("POST /v1/score", Way.RELAY, "openai", Operation.SCORE),
        ("POST /v1/moderations", Way.RELAY, "openai", Operation.MODERATIONS),
        ("OPTIONS /v1/audio/speech", Way.LOCAL, "openai", Operation.PREFLIGHT),
        ("GET /v1/models", Way.LOCAL, "openai", Operation.LIST_MODELS),
        ("HEAD /v1/models", Way.LOCAL, "openai", Operation.LIST_MODELS),
        ("GET /v1/models/m", Way.LOCAL, "openai", Operation.GET_MODEL),
        ("POST /api/chat", Way.RELAY, "ollama", Operation.CHAT),
        ("POST /api/generate", Way.RELAY, "ollama", Operation.GENERATE),
        ("POST /api/embed", Way.RELAY, "ollama", Operation.EMBED),
        ("POST /api/embeddings", Way.RELAY, "ollama", Operation.EMBEDDINGS),
        ("POST /api/show", Way.RELAY, "ollama", Operation.SHOW),
        ("GET /api/tags", Way.LOCAL, "ollama", Operation.LIST_MODELS),
        ("GET /api/ps", Way.LOCAL, "ollama", Operation.LIST_RUNNING),
        ("GET /api/version", Way.LOCAL, "ollama", Operation.VERSION),
        ("GET /", Way.LOCAL, "ollama", Operation.GREETING),
        ("HEAD /", Way.LOCAL, "ollama", Operation.GREETING),
        ("POST /v1/messages", Way.RELAY, "anthropic", Operation.MESSAGES),
        ("POST /v1/messages/count_tokens", Way.RELAY, "anthropic", Operation.COUNT_TOKENS),
        ("POST /anthropic/v1/messages", Way.RELAY, "anthropic", Operation.MESSAGES),
        ("POST /anthropic/v1/messages/count_tokens", Way.RELAY, "anthropic", Operation.COUNT_TOKENS),
        ("GET /anthropic/v1/models", Way.LOCAL, "anthropic", Operation.LIST_MODELS),
        ("GET /anthropic/v1/models/m", Way.LOCAL, "anthropic", Operation.GET_MODEL),
        ("POST /v1/responses", Way.RELAY, "responses", Operation.RESPONSES),
        ("GET /v1/responses/resp_1", Way.LOCAL, "responses", Operation.GET_RESPONSE),
        ("HEAD /v1/responses/resp_1", Way.LOCAL, "responses", Operation.GET_RESPONSE),
        ("DELETE /v1/responses/resp_1", Way.LOCAL, "responses", Operation.DELETE_RESPONSE),
        ("GET /v1/responses/resp_1/input_items", Way.LOCAL, "responses", Operation.LIST_INPUT_ITEMS),
        ("OPTIONS /v1/responses/resp_1", Way.LOCAL, "responses", Operation.PREFLIGHT),
        ("OPTIONS /v1/messages", Way.LOCAL, "anthropic", Operation.PREFLIGHT),
        ("OPTIONS /v1/chat/completions", Way.LOCAL, "openai", Operation.PREFLIGHT),
        ("OPTIONS /v1/models/m", Way.LOCAL, "openai", Operation.PREFLIGHT),
        ("OPTIONS /api/chat", Way.LOCAL, "ollama", Operation.PREFLIGHT),
    ],
)
def test_known_paths(line: str, way: Way, dialect: str, operation: Operation) -> None:
    found = route(line)
    assert (found.way, found.dialect.name, found.operation) == (way, dialect, operation)


@pytest.mark.parametrize(
    ("line", "surface"),
    [
        ("POST /v1/chat/completions", Surface.CHAT),
        ("POST /v1/completions", Surface.TEXT),
        ("POST /v1/embeddings", Surface.EMBEDDINGS),
        ("POST /v1/responses", Surface.RESPONSES),
        ("POST /v1/messages", Surface.MESSAGES),
        ("POST /anthropic/v1/messages", Surface.MESSAGES),
        ("POST /v1/messages/count_tokens", Surface.MESSAGES),
        ("POST /api/chat", Surface.OLLAMA),
        ("POST /api/show", Surface.OLLAMA),
        ("GET /v1/models", Surface.OURS),
        ("GET /v1/responses/resp_1", Surface.OURS),
        ("GET /", Surface.OURS),
        ("GET /status", Surface.OURS),
    ],
)
def test_what_goes_to_a_backend_has_the_surface_that_it_must_serve(line: str, surface: Surface) -> None:
    assert route(line).surface is surface


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/m", "/v1/nothing"])
def test_who_sends_anthropics_version_is_answered_in_its_dialect(path: str) -> None:
    assert route(f"GET {path}").dialect.name == "openai"
    assert route(f"GET {path}", anthropic_version=b"2023-06-01").dialect.name == "anthropic"


def test_the_version_header_does_not_move_other_paths() -> None:
    assert route("POST /v1/chat/completions", anthropic_version=b"2023-06-01").dialect.name == "openai"
    assert route("GET /api/tags", anthropic_version=b"2023-06-01").dialect.name == "ollama"


def test_the_path_names_a_stored_response() -> None:
    assert route("GET /v1/responses/resp_1").argument == "resp_1"
    assert route("GET /v1/responses/resp_1/input_items").argument == "resp_1"


@pytest.mark.parametrize(
    ("line", "operation", "name", "item"),
    [
        ("POST /v1/conversations", Operation.CREATE_CONVERSATION, "", ""),
        ("GET /v1/conversations/conv_1", Operation.GET_CONVERSATION, "conv_1", ""),
        ("HEAD /v1/conversations/conv_1", Operation.GET_CONVERSATION, "conv_1", ""),
        ("POST /v1/conversations/conv_1", Operation.UPDATE_CONVERSATION, "conv_1", ""),
        ("DELETE /v1/conversations/conv_1", Operation.DELETE_CONVERSATION, "conv_1", ""),
        ("GET /v1/conversations/conv_1/items", Operation.LIST_ITEMS, "conv_1", ""),
        ("POST /v1/conversations/conv_1/items", Operation.CREATE_ITEMS, "conv_1", ""),
        ("GET /v1/conversations/conv_1/items/msg_1", Operation.GET_ITEM, "conv_1", "msg_1"),
        ("DELETE /v1/conversations/a%2Fb/items/c%20d", Operation.DELETE_ITEM, "a/b", "c d"),
    ],
)
def test_the_path_names_a_conversation_and_an_item(line: str, operation: Operation, name: str, item: str) -> None:
    found = route(line)
    assert (found.way, found.dialect.name, found.operation) == (Way.STATE, "responses", operation)
    assert (found.argument, found.item) == (name, item)


@pytest.mark.parametrize(
    ("line", "status", "allow"),
    [
        ("GET /v1/conversations", 405, b"POST, OPTIONS"),
        ("PATCH /v1/conversations/c", 405, b"GET, POST, DELETE, HEAD, OPTIONS"),
        ("DELETE /v1/conversations/c/items", 405, b"GET, POST, HEAD, OPTIONS"),
        ("POST /v1/conversations/c/items/i", 405, b"GET, DELETE, HEAD, OPTIONS"),
        ("GET /v1/conversations/", 404, b""),
        ("GET /v1/conversations/c/", 404, b""),
        ("GET /v1/conversations/c/items/", 404, b""),
        ("GET /v1/conversations//items/i", 404, b""),
        ("GET /v1/conversations/c/others", 404, b""),
        ("GET /v1/conversations/c/items/i/j", 404, b""),
        ("GET /v1/conversationsx", 404, b""),
    ],
)
def test_other_paths_of_conversations_are_refused(line: str, status: int, allow: bytes) -> None:
    found = route(line)
    assert (found.way, found.refusal().status, found.allow) == (Way.REFUSED, status, allow)


@pytest.mark.parametrize(
    "line",
    [
        "GET /status",
        "POST /",
        "GET /metrics",
        "GET /api",
        "POST /api/keys",
        "GET /v2/models",
        "OPTIONS *",
        "GET //v1/models",
    ],
)
def test_everything_else_belongs_to_the_control_plane(line: str) -> None:
    assert route(line) is CONTROL


def test_a_browser_at_the_door_is_no_ollama_client() -> None:
    assert route("GET /", b"text/html,application/xhtml+xml") is CONTROL
    assert route("GET /", b"*/*").operation is Operation.GREETING


@pytest.mark.parametrize(
    ("line", "status", "dialect", "allow"),
    [
        ("GET /v1/chat/completions", 405, "openai", b"POST, OPTIONS"),
        ("HEAD /v1/chat/completions", 405, "openai", b"POST, OPTIONS"),
        ("DELETE /v1/models/m", 405, "openai", b"GET, HEAD, OPTIONS"),
        ("POST /v1/models", 405, "openai", b"GET, HEAD, OPTIONS"),
        ("GET /api/chat", 405, "ollama", b"POST, OPTIONS"),
        ("POST /api/tags", 405, "ollama", b"GET, HEAD, OPTIONS"),
        ("GET /v1", 404, "openai", None),
        ("GET /v1/", 404, "openai", None),
        ("GET /v1/models/", 404, "openai", None),
        ("POST /v1/chat/completions/", 404, "openai", None),
        ("POST /v1/audio/voices", 404, "openai", None),
        ("GET /v1/messages", 405, "anthropic", b"POST, OPTIONS"),
        ("GET /v1/responses", 405, "responses", b"POST, OPTIONS"),
        ("POST /v1/responses/resp_1", 405, "responses", b"GET, DELETE, HEAD, OPTIONS"),
        ("DELETE /v1/responses/resp_1/input_items", 405, "responses", b"GET, HEAD, OPTIONS"),
        ("POST /v1/responses/resp_1/cancel", 404, "responses", None),
        ("GET /v1/responses/", 404, "openai", None),
        ("POST /v1/messages/batches", 404, "openai", None),
        ("POST /anthropic/v1/messages/batches", 404, "anthropic", None),
        ("GET /anthropic/v1", 404, "anthropic", None),
        ("DELETE /anthropic/v1/models/m", 405, "anthropic", b"GET, HEAD, OPTIONS"),
        ("POST /api/pull", 501, "ollama", None),
        ("DELETE /api/delete", 501, "ollama", None),
        ("HEAD /api/blobs/sha256:ab", 501, "ollama", None),
    ],
)
def test_what_is_wrong_is_said_in_the_paths_own_dialect(
    line: str, status: int, dialect: str, allow: bytes | None
) -> None:
    found = route(line)
    error = found.refusal()
    assert (found.way, found.dialect.name, error.status) == (Way.REFUSED, dialect, status)
    assert dict(error.headers).get(b"allow") == allow
    assert error.closes is False


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("meta-llama/Llama-3.1-8B", "meta-llama/Llama-3.1-8B"),
        ("meta-llama%2FLlama-3.1-8B", "meta-llama/Llama-3.1-8B"),
        ("llama3.2:3b", "llama3.2:3b"),
        ("llama3.2%3A3b", "llama3.2:3b"),
        ("a%20b", "a b"),
        ("a+b", "a+b"),
        ("%C3%A4", "ä"),
        ("%FF", "\ufffd"),
        ("100%", "100%"),
        ("..%2f..%2fetc", "../../etc"),
        ("models/x/", "models/x/"),
    ],
)
def test_model_ids_may_hold_slashes_and_escapes(path: str, model: str) -> None:
    found = route(f"GET /v1/models/{path}")
    assert (found.way, found.argument) == (Way.LOCAL, model)


@fuzz(50)
@given(
    st.sampled_from([b"GET", b"POST", b"HEAD", b"OPTIONS", b"DELETE"]),
    st.one_of(
        st.binary(max_size=30), st.from_regex(rb"/(v1|api|anthropic/v1|v1/responses)/[a-z/%]{0,20}", fullmatch=True)
    ),
    st.none() | st.binary(max_size=10),
    st.none() | st.just(b"2023-06-01"),
)
def test_every_path_has_a_route(method: bytes, path: bytes, accept: bytes | None, version: bytes | None) -> None:
    """Invariant: find_route never raises, and what is refused has its error ready."""
    found = find_route(method, path, accept, version)
    if found.way is Way.REFUSED:
        assert found.refusal().status in (404, 405, 501)
    else:
        assert found.code is None
