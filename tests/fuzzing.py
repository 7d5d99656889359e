"""How long property tests search: briefly in the suite, longer on demand.

`MRPROXY_FUZZ_EXAMPLES=100000 pytest tests/wire` searches that many examples per fuzzer, and new ones each time.
"""

import itertools
import os

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

_WANTED = int(os.environ.get("MRPROXY_FUZZ_EXAMPLES", "0"))
_SLOW_IS_FINE = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]


def fuzz(max_examples: int) -> settings:
    """A decorator for a property test."""
    if _WANTED:
        return settings(
            max_examples=_WANTED, derandomize=False, database=None, deadline=None, suppress_health_check=_SLOW_IS_FINE
        )
    return settings(max_examples=max_examples)


def split_at(data: bytes, places: list[int]) -> list[bytes]:
    """`data` in pieces, cut at `places` (taken modulo its length)."""
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in itertools.pairwise(edges)]


@st.composite
def mutated(draw: st.DrawFn, examples: list[bytes], snippets: list[bytes]) -> bytes:
    """One of the examples with a few bytes deleted, repeated, replaced, or snippets put in."""
    data = draw(st.sampled_from(examples))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["insert", "delete", "replace", "repeat"])):
            case "insert":
                data = data[:place] + draw(st.sampled_from(snippets)) + data[place:]
            case "delete":
                data = data[:place] + data[place + draw(st.integers(1, 4)) :]
            case "replace":
                data = data[:place] + draw(st.sampled_from(snippets)) + data[place + 1 :]
            case _:
                end = min(len(data), place + draw(st.integers(1, 40)))
                data = data[:end] + data[place:end] + data[end:]
    return data
