"""Mutated inputs: as many as wanted, the same for one seed, most of them JSON that is not the example's."""

import itertools
import json

from tests.mutations import Mutator

EXAMPLES = [
    b'{"model":"m","messages":[{"role":"user","content":"hi"}],"n":1}',
    b'event: x\ndata: {"choices":[{"delta":{"content":"a"}}]}\n\ndata: [DONE]\n\n',
    b'{"message":{"content":"a"},"done":false}\n{"done":true}\n',
    b"null",
]


def some(seed: int, count: int = 300) -> list[bytes]:
    return list(itertools.islice(Mutator(EXAMPLES, seed).inputs(), count))


def test_the_examples_come_first_and_short_texts_are_none() -> None:
    assert some(0, 3) == sorted(EXAMPLES[:3])
    assert Mutator(EXAMPLES, 0).examples == tuple(sorted(EXAMPLES[:3]))


def test_the_same_seed_makes_the_same_inputs_and_another_one_others() -> None:
    assert some(1) == some(1)
    assert some(1) != some(2)


def test_nearly_all_are_new() -> None:
    made = set(some(0))
    assert len(made) > 200
    assert len(made & set(EXAMPLES)) < 10


def test_many_are_still_json_so_that_they_reach_what_is_behind_the_parser() -> None:
    def is_object(data: bytes) -> bool:
        try:
            return isinstance(json.loads(data), dict)
        except (ValueError, RecursionError):
            return False

    made = list(itertools.islice(Mutator(EXAMPLES[:1], 0).inputs(), 300))
    changed = {data for data in made if is_object(data) and json.loads(data) != json.loads(EXAMPLES[0])}
    assert len(changed) > 60


def test_values_and_names_wander_between_examples() -> None:
    assert any(b'"choices"' in data and b'"messages"' in data and b"event:" not in data for data in some(0, 3000))


def test_streams_keep_their_framing_often() -> None:
    streams = [data for data in some(0, 1000) if data.startswith(b"event: x\ndata: {") and data.endswith(b"\n\n")]
    assert len(set(streams)) > 50
