"""Which surfaces a backend of a kind serves for certain, and which have to be asked for."""

import pytest

from mrproxy.canonical.request import Operation
from mrproxy.canonical.surface import NATIVE, PROBED, Surface
from mrproxy.dialects.lanes import can_serve
from mrproxy.dialects.routes import Way, find_route
from mrproxy.upstream.probing import PROBE_PATHS

KINDS = sorted(NATIVE)


def test_every_kind_that_a_probe_can_find_serves_something() -> None:
    assert set(NATIVE) == set(PROBE_PATHS) - {"auto"}
    assert all(NATIVE.values())


def test_nobody_serves_what_is_ours() -> None:
    assert not any(Surface.OURS in surfaces for surfaces in NATIVE.values())


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_certain_is_not_asked_for(kind: str) -> None:
    if kind != "anthropic":  # it is never asked
        assert not NATIVE[kind] & set(PROBED.values())


def test_only_ollama_serves_its_own_api_and_only_anthropics_messages_are_certain() -> None:
    assert [kind for kind in KINDS if Surface.OLLAMA in NATIVE[kind]] == ["ollama"]
    assert [kind for kind in KINDS if Surface.MESSAGES in NATIVE[kind]] == ["anthropic"]


@pytest.mark.parametrize("path", PROBED)
def test_what_is_asked_for_is_the_path_that_callers_use(path: str) -> None:
    route = find_route(b"POST", path.encode(), None)
    assert (route.way, route.surface) == (Way.RELAY, PROBED[path])


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_backend_serves_it_can_be_asked_for(kind: str) -> None:
    operations = {
        Surface.CHAT: Operation.CHAT,
        Surface.TEXT: Operation.COMPLETIONS,
        Surface.EMBEDDINGS: Operation.EMBEDDINGS,
        Surface.MESSAGES: Operation.MESSAGES,
        Surface.OLLAMA: Operation.EMBED,
        Surface.MEDIA: Operation.SPEECH,
    }
    assert all(can_serve(kind, operations[surface]) for surface in NATIVE[kind])


def test_surfaces_are_words() -> None:
    assert [str(surface) for surface in Surface] == [
        "chat", "text", "embeddings", "responses", "messages", "ollama", "media", "ours",
    ]  # fmt: skip
