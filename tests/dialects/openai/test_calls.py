"""Tool calls put together, each engine's way. Sources: the issues named in calls.py, read in 2026."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.canonical.deltas import Delta, ToolCallArguments, ToolCallBegin
from mrproxy.dialects.openai.calls import Calls, Fragment, Function, call_prefix
from tests.fuzzing import fuzz


def piece(index: int | None, id: str | None, name: str | None, arguments: str | None) -> Fragment:  # noqa: A002
    return Fragment(index, id, Function(name, arguments))


def assemble(fragments: list[Fragment]) -> list[tuple[str, str, str]]:
    """(id, name, arguments) of each call."""
    calls = Calls("call_", 0)
    made: list[tuple[str, str, str]] = []
    for fragment in fragments:
        for delta in calls.receive(fragment):
            match delta:
                case ToolCallBegin():
                    assert delta.call == len(made)
                    made.append((delta.id, delta.name, ""))
                case ToolCallArguments():
                    identity, name, text = made[delta.call]
                    made[delta.call] = (identity, name, text + delta.fragment)
    return made


A = ("a", "f", '{"x":1}')
B = ("b", "g", '{"y":2}')
G = ("b", "f", '{"y":2}')

STREAMS = {
    "OpenAI": (
        [
            piece(0, "a", "f", ""),
            piece(0, None, None, '{"x"'),
            piece(0, None, None, ":1}"),
            piece(1, "b", "g", ""),
            piece(1, None, None, '{"y":2}'),
        ],
        [A, B],
    ),
    "OpenAI, interleaved": (
        [
            piece(0, "a", "f", ""),
            piece(1, "b", "g", ""),
            piece(0, None, None, '{"x"'),
            piece(1, None, None, '{"y"'),
            piece(0, None, None, ":1}"),
            piece(1, None, None, ":2}"),
        ],
        [A, B],
    ),
    "Ollama: every index is 0": ([piece(0, "a", "f", '{"x":1}'), piece(0, "b", "f", '{"y":2}')], [A, G]),
    "Ollama 2024: no index": ([piece(None, "a", "f", '{"x":1}'), piece(None, "b", "g", '{"y":2}')], [A, B]),
    "SGLang: index 0, ids repeated": (
        [
            piece(0, "a", "f", ""),
            piece(0, "a", None, '{"x":1}'),
            piece(0, "b", "g", ""),
            piece(0, "b", None, '{"y":2}'),
        ],
        [A, B],
    ),
    "vLLM 2025: index 0, ids empty": (
        [piece(0, "a", "f", ""), piece(0, "", None, '{"x":1}'), piece(0, "b", "f", ""), piece(0, "", None, '{"y":2}')],
        [A, G],
    ),
    "Poolside: the tail has another id": (
        [
            piece(0, "a", "f", ""),
            piece(0, "z", None, '{"x"'),
            piece(0, "z", None, ":1}"),
            piece(1, "b", "g", '{"y":2}'),
        ],
        [A, B],
    ),
    "Nebius, Cerebras: the tail has another index": (
        [
            piece(0, "a", "f", '{"x"'),
            piece(1, None, None, ":1}"),
            piece(0, "b", "g", '{"y"'),
            piece(3, None, None, ":2}"),
        ],
        [A, B],
    ),
    "indices jump": ([piece(5, "a", "f", '{"x":1}'), piece(2, "b", "g", '{"y"'), piece(2, None, None, ":2}")], [A, B]),
    "name repeated": (
        [piece(0, "a", "f", ""), piece(0, "a", "f", '{"x"'), piece(0, "a", "f", ":1}"), piece(0, "a", "f", "")],
        [A],
    ),
    "name repeated, no id": (
        [
            piece(0, None, "f", '{"x"'),
            piece(0, None, "f", ":1}"),
            piece(0, None, "f", ""),
            piece(0, None, "g", '{"y":2}'),
        ],
        [("call_0", "f", '{"x":1}'), ("call_1", "g", '{"y":2}')],
    ),
    "nothing but names": (
        [piece(None, None, "f", '{"x":1}'), piece(None, None, "f", '{"x":1}'), piece(None, None, "g", None)],
        [("call_0", "f", '{"x":1}'), ("call_1", "f", '{"x":1}'), ("call_2", "g", "")],
    ),
    "the same call twice at one index, no ids": (
        [piece(0, None, "f", '{"x":1}'), piece(0, None, "f", '{"x":1}')],
        [("call_0", "f", '{"x":1}'), ("call_1", "f", '{"x":1}')],
    ),
    "one id for two calls": (
        [piece(0, "a", "f", '{"x":1}'), piece(1, "a", "g", '{"y"'), piece(1, "a", None, ":2}")],
        [A, ("call_1", "g", '{"y":2}')],
    ),
    "the id comes late": ([piece(0, None, "f", ""), piece(0, "a", None, '{"x":1}')], [("call_0", "f", '{"x":1}')]),
    "no name at all": ([piece(0, "a", None, '{"x":1}')], [("a", "", '{"x":1}')]),
    "empty fragments": (
        [Fragment(), piece(0, None, None, None), piece(0, "a", "f", '{"x":1}'), Fragment(0), Fragment()],
        [A],
    ),
    "no arguments": ([piece(0, "a", "f", None), piece(1, "b", "g", "")], [("a", "f", ""), ("b", "g", "")]),
}


@pytest.mark.parametrize(("fragments", "calls"), STREAMS.values(), ids=STREAMS.keys())
def test_each_engines_calls_are_whole(fragments: list[Fragment], calls: list[tuple[str, str, str]]) -> None:
    assert assemble(fragments) == calls


def test_arguments_that_are_an_object_become_its_text() -> None:
    raw = b'[{"index":0,"id":"a","function":{"name":"f","arguments":{"x":[1,{"y":"\xc3\xbc"}]}}}]'
    ((_, _, arguments),) = assemble(msgspec.json.decode(raw, type=list[Fragment]))
    assert json.loads(arguments) == {"x": [1, {"y": "ü"}]}


def test_a_documents_calls_are_never_parts_of_each_other() -> None:
    calls = Calls(call_prefix("0-1"), 1)
    deltas: list[Delta] = []
    for _ in range(2):
        deltas += calls.receive_whole(piece(0, None, "f", '{"x":1}'))
    assert deltas == [
        ToolCallBegin(0, "call_01_1_0", "f", 1),
        ToolCallArguments(0, '{"x":1}', 1),
        ToolCallBegin(1, "call_01_1_1", "f", 1),
        ToolCallArguments(1, '{"x":1}', 1),
    ]


@st.composite
def honest(draw: st.DrawFn) -> tuple[list[Fragment], list[tuple[str, str, str]]]:
    """What OpenAI itself sends: calls by index, interleaved as they like."""
    names = draw(st.lists(st.sampled_from("fg"), min_size=1, max_size=3))
    calls = [(f"id{n}", name, json.dumps({"x": n, "y": "}"})) for n, name in enumerate(names)]
    fragments = [piece(n, identity, name, "") for n, (identity, name, _) in enumerate(calls)]
    rest = [list(text) for _, _, text in calls]
    while any(rest):
        n = draw(st.sampled_from([n for n, text in enumerate(rest) if text]))
        size = draw(st.integers(1, 8))
        fragments.append(piece(n, None, None, "".join(rest[n][:size])))
        rest[n] = rest[n][size:]
    return fragments, calls


@fuzz(40)
@given(honest())
def test_what_keeps_openais_rule_comes_out_right(given: tuple[list[Fragment], list[tuple[str, str, str]]]) -> None:
    fragments, calls = given
    assert assemble(fragments) == calls
