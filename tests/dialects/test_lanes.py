"""The lane of an attempt, in every combination of what decides it; and what a kind of backend can do at all."""

import itertools

import pytest

from mrproxy.canonical.request import MEDIA, Operation
from mrproxy.canonical.surface import NATIVE, Surface
from mrproxy.dialects.lanes import Lane, can_serve, choose_lane

STATELESS = b'{"model":"m","input":"hi","store":false}'
ASKED = [surface for surface in Surface if surface not in (Surface.OURS, Surface.MEDIA)]
BOTH = (False, True)


@pytest.mark.parametrize("surface", ASKED)
@pytest.mark.parametrize(("is_native", "is_checked", "has_length"), list(itertools.product(BOTH, repeat=3)))
def test_bytes_pass_where_both_speak_it_and_can_say_all_that_was_asked(
    surface: Surface, is_native: bool, is_checked: bool, has_length: bool
) -> None:
    native = frozenset({surface} if is_native else set(ASKED) - {surface})
    kind = "ollama" if has_length else "vllm"  # no other can be told
    lane = choose_lane(surface, native, STATELESS, is_checked=is_checked, has_context_length=has_length, kind=kind)
    says_length = not has_length or surface is Surface.OLLAMA
    assert (lane is Lane.STRAIGHT) is (is_native and not is_checked and says_length)


@pytest.mark.parametrize("kind", NATIVE)
@pytest.mark.parametrize("surface", ASKED)
def test_a_kind_gets_bytes_as_they_are_for_what_it_serves(kind: str, surface: Surface) -> None:
    body = STATELESS if surface in (Surface.RESPONSES, Surface.EMBEDDINGS) else b'{"model":"m"}'
    lane = choose_lane(surface, NATIVE[kind], body.replace(b',"store":false', b""), kind=kind)
    assert lane is (Lane.STRAIGHT if surface in NATIVE[kind] else Lane.TRANSLATING)


@pytest.mark.parametrize(
    ("body", "lane"),
    [
        (b'{"store":false}', Lane.STRAIGHT),
        (b'{"store":false,"previous_response_id":null}', Lane.STRAIGHT),
        (b'{"store":false,"previous_response_id":"resp_1"}', Lane.TRANSLATING),
        (b'{"store":false,"conversation":null}', Lane.STRAIGHT),
        (b'{"store":false,"conversation":"conv_1"}', Lane.TRANSLATING),
        (b'{"store":false,"conversation":{"id":"conv_1"}}', Lane.TRANSLATING),
        (b"{}", Lane.TRANSLATING),  # OpenAI's default is to store
        (b'{"store":null}', Lane.TRANSLATING),
        (b'{"store":true}', Lane.TRANSLATING),
        (b'{"st\\u006fre":true}', Lane.TRANSLATING),
    ],
)
def test_a_response_that_is_kept_or_continues_one_is_ours(body: bytes, lane: Lane) -> None:
    assert choose_lane(Surface.RESPONSES, frozenset({Surface.RESPONSES}), body) is lane


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"store":7}', b'{"store":"no"}', b"\xff", b'{"a":' + b"[" * 50_000]
)
def test_what_cannot_be_read_is_for_the_engine_to_refuse(body: bytes) -> None:
    assert choose_lane(Surface.RESPONSES, frozenset({Surface.RESPONSES}), body) is Lane.STRAIGHT


@pytest.mark.parametrize(
    ("body", "is_threaded"),
    [
        (b'{"thread":{"id":"thread_1"}}', True),
        (b'{"messages":[],"thread":"new"}', True),
        (b'{"thread":false}', True),  # whatever it may mean one day
        (b'{"\\u0074hread":{}}', True),
        (b'{"thread": null }', False),
        (b'{"messages":[{"role":"user","content":"a \\"thread\\":1"}],"metadata":{"thread":1}}', False),
        (b"{}", False),
        (b'{"thread":', False),
        (b"[]", False),
        (b"\xff", False),
    ],
)
def test_a_conversation_that_an_engine_would_have_to_hold_is_not_given_to_one_that_does_not(
    body: bytes, is_threaded: bool
) -> None:
    native = NATIVE["vllm"] | {Surface.MESSAGES}
    assert choose_lane(Surface.MESSAGES, native, body) is (Lane.TRANSLATING if is_threaded else Lane.STRAIGHT)
    assert choose_lane(Surface.MESSAGES, NATIVE["anthropic"], body, kind="anthropic") is Lane.STRAIGHT


def test_other_bodies_are_not_looked_at() -> None:
    assert choose_lane(Surface.CHAT, NATIVE["vllm"], b'{"store":true,"thread":{}}') is Lane.STRAIGHT


@pytest.mark.parametrize(
    ("surface", "body"),
    [
        (Surface.CHAT, b'{"model":"m","messages":[],"tool_choice":"required"}'),
        (Surface.TEXT, b'{"model":"m","prompt":"p","echo":true}'),
        (Surface.EMBEDDINGS, b'{"model":"m","input":"i","user":"u"}'),
        (Surface.MESSAGES, b'{"model":"m","messages":[],"tool_choice":{"type":"any"}}'),
        (Surface.RESPONSES, b'{"model":"m","input":"i","store":false,"tool_choice":"none"}'),
    ],
)
def test_what_ollama_would_pass_over_is_translated_for_ollama_alone(surface: Surface, body: bytes) -> None:
    native = frozenset(Surface)
    assert choose_lane(surface, native, body, kind="ollama") is Lane.TRANSLATING
    for kind in ("vllm", "llamacpp", "openai"):
        assert choose_lane(surface, native, body, kind=kind) is Lane.STRAIGHT


@pytest.mark.parametrize("kind", NATIVE)
def test_what_no_other_dialect_has_is_never_translated(kind: str) -> None:
    assert choose_lane(Surface.MEDIA, NATIVE[kind], b"") is Lane.STRAIGHT


SOMEWHERE = {
    Operation.SHOW: {"ollama"},
    Operation.COUNT_TOKENS: {"anthropic"},
    Operation.EMBEDDINGS: set(NATIVE) - {"anthropic"},
    Operation.EMBED: set(NATIVE) - {"anthropic"},
    **{operation: {"vllm", "openai", "llamacpp"} for operation in MEDIA},
}


@pytest.mark.parametrize("operation", Operation)
def test_every_kind_can_do_what_can_be_translated(operation: Operation) -> None:
    assert {kind for kind in NATIVE if can_serve(kind, operation)} == SOMEWHERE.get(operation, set(NATIVE))


def test_lanes_have_the_journals_words() -> None:
    assert [str(lane) for lane in Lane] == ["straight", "translating"]
