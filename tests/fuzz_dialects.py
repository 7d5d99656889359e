"""Feeds mutated examples to every decoder of the dialects, as much as is asked for: `python -m tests.fuzz_dialects`.

A target is a function of bytes with its invariant inside, in `FUZZ_TARGETS` of a test module below tests/dialects. What
is mutated are the bytes that stand in that module, and in the golden modules that it imports. The first exception ends
the run with status 1; the input that caused it is kept. The same seed gives the same inputs.
"""

import argparse
import ast
import importlib
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from tests.mutations import Mutator

ROOT = Path(__file__).parents[1]
Target = Callable[[bytes], None]
# For targets whose modules draw their examples.
_MORE: dict[str, tuple[bytes, ...]] = {
    "schema": (
        b'{"type":"object","properties":{"a":{"type":"string","pattern":"^[a-z]+$","minLength":1}},"required":["a"],'
        b'"additionalProperties":false}\n{"a":"b"}',
        b'{"$defs":{"n":{"anyOf":[{"type":"null"},{"$ref":"#/$defs/n"}]}},"type":"array","items":{"$ref":"#/$defs/n"},'
        b'"uniqueItems":true,"maxItems":3}\n[null,[1,2.5,{"b":[true]}]]',
        b'{"oneOf":[{"const":{"a":1}},{"enum":["x",3]},{"multipleOf":0.1}],"patternProperties":{"^x":{"not":{}}},'
        b'"if":{"type":"object"},"then":{"minProperties":1},"unevaluatedProperties":false}\n0.3',
    ),
}


@dataclass(frozen=True, slots=True)
class Fuzzed:
    """A target, and the bytes that its inputs are made of."""

    name: str
    target: Target
    texts: tuple[bytes, ...]

    def inputs(self, seed: int) -> Iterator[bytes]:
        """Without end."""
        return Mutator(self.texts, f"{seed} {self.name}").inputs()


@dataclass(frozen=True, slots=True)
class Outcome:
    """`broken_by`: the input that raised `error`."""

    inputs: int
    size_bytes: int
    seconds: float
    broken_by: bytes = b""
    error: BaseException | None = None


def find_targets() -> list[Fuzzed]:
    """All of them, by name."""
    found: dict[str, Fuzzed] = {}
    for path in sorted((ROOT / "tests" / "dialects").glob("**/test_*.py")):
        module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
        targets: dict[str, Target] = getattr(module, "FUZZ_TARGETS", {})
        if not targets:
            continue
        texts = (*_bytes_in(module), *_literals_in(path))
        for name, target in targets.items():
            assert name not in found, f"two targets are called {name!r}"
            found[name] = Fuzzed(name, target, texts + _MORE.get(name, ()))
    return [found[name] for name in sorted(found)]


def _bytes_in(value: object) -> Iterator[bytes]:
    """Every text that stands in a module, in its collections, and in the golden modules that it knows."""
    match value:
        case bytes():
            yield value
        case ModuleType():
            for name, each in vars(value).items():
                is_golden = not isinstance(each, ModuleType) or each.__name__.endswith(".golden")
                if is_golden and not name.startswith("__"):
                    yield from _bytes_in(each)
        case dict():
            for each in value.values():
                yield from _bytes_in(each)
        case list() | tuple() | set() | frozenset():
            for each in value:
                yield from _bytes_in(each)
        case _ if not isinstance(value, type) and isinstance(data := getattr(value, "data", None), bytes):
            yield data


def _literals_in(path: Path) -> Iterator[bytes]:
    """The bytes in a module's source, those within its functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, bytes) and node.value:
            yield node.value


def run(fuzzed: Fuzzed, size_bytes: int, seed: int) -> Outcome:
    """Until so many bytes were taken, or something was raised."""
    began = time.perf_counter()
    inputs = consumed = 0
    for data in fuzzed.inputs(seed):
        if consumed >= size_bytes:
            break
        inputs += 1
        consumed += len(data)
        try:
            fuzzed.target(data)
        except Exception as exc:
            return Outcome(inputs, consumed, time.perf_counter() - began, data, exc)
    return Outcome(inputs, consumed, time.perf_counter() - began)


def main(arguments: Sequence[str], targets: Sequence[Fuzzed] | None = None) -> int:
    """The exit status: 1 at the first exception, 2 where no target is meant."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz_dialects", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="part of a target's name (all targets)")
    parser.add_argument("--megabytes", type=float, default=1.0, help="for each target (1)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--keep", type=Path, default=ROOT / "build" / "fuzz", help="where a bad input goes (build/fuzz)"
    )
    options = parser.parse_args(arguments)
    every = find_targets() if targets is None else targets
    chosen = [each for each in every if not options.names or any(name in each.name for name in options.names)]
    if not chosen:
        print(f"no such target; there are: {', '.join(each.name for each in every)}", file=sys.stderr)
        return 2
    for fuzzed in chosen:
        outcome = run(fuzzed, int(options.megabytes * 1e6), options.seed)
        told = f"{fuzzed.name:30} {outcome.size_bytes / 1e6:9.2f} MB {outcome.inputs:9} inputs {outcome.seconds:8.1f} s"
        if outcome.error is not None:
            options.keep.mkdir(parents=True, exist_ok=True)
            path = options.keep / f"{fuzzed.name.replace(' ', '-')}.bin"
            path.write_bytes(outcome.broken_by)
            print(f"{told}  {type(outcome.error).__name__}, by {path}", flush=True)
            traceback.print_exception(outcome.error)
            return 1
        print(f"{told}  ok", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
