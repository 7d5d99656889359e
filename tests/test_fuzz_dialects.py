"""The long fuzzer: it finds every decoder, repeats itself, and keeps what breaks one. Every target is run for a bit."""

import itertools

import pytest

from tests.fuzz_dialects import Fuzzed, find_targets, main, run
from tests.mutations import Mutator

TARGETS = find_targets()
EXAMPLES = (b'{"model":"m","messages":[]}', b"data: {}\n\ndata: [DONE]\n\n")


def fuzzed(target: object, name: str = "the target") -> Fuzzed:
    return Fuzzed(name, target, EXAMPLES)  # type: ignore[arg-type]


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_no_decoder_raises_anything_but_its_dialects_own_error(target: Fuzzed) -> None:
    outcome = run(target, 30_000, seed=0)
    assert outcome.error is None, outcome.broken_by


def test_every_dialect_has_targets_with_examples_to_start_from() -> None:
    names = " ".join(target.name for target in TARGETS)
    for wanted in ("openai", "ollama", "anthropic", "responses", "translated", "stream", "document", "request", "tap"):
        assert wanted in names
    assert all(len(Mutator(target.texts, 0).examples) >= 2 for target in TARGETS)


def test_each_target_has_inputs_of_its_own_by_seed() -> None:
    def some(seed: int, name: str) -> list[bytes]:
        return list(itertools.islice(fuzzed(print, name).inputs(seed), 50))

    assert some(1, "a") == some(1, "a")
    assert some(1, "a") != some(2, "a")
    assert some(1, "a") != some(1, "b")


def test_as_much_is_fed_as_was_asked_for() -> None:
    seen: list[bytes] = []
    outcome = run(fuzzed(seen.append), 10_000, seed=0)
    assert outcome.size_bytes == sum(map(len, seen)) >= 10_000
    assert outcome.size_bytes - len(seen[-1]) < 10_000
    assert outcome.inputs == len(seen)


def test_a_line_is_told_of_each_target(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--megabytes", "0.001"], [fuzzed(len, "one"), fuzzed(len, "two")]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.split()[0] == "one"
    assert first.endswith("ok")
    assert second.split()[0] == "two"


def test_the_first_exception_ends_it_and_its_input_is_kept(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    def break_at_ff(data: bytes) -> None:
        if b"\xff" in data:
            raise ValueError("broken")

    targets = [fuzzed(break_at_ff, "the weak one"), fuzzed(len, "never reached")]
    assert main(["--megabytes", "1", "--keep", str(tmp_path)], targets) == 1
    told = capsys.readouterr()
    (line,) = told.out.splitlines()
    assert line.split()[:3] == ["the", "weak", "one"]
    assert "ValueError" in line
    assert "broken" in told.err
    kept = tmp_path / "the-weak-one.bin"
    assert b"\xff" in kept.read_bytes()


def test_targets_are_chosen_by_a_part_of_their_names(capsys: pytest.CaptureFixture[str]) -> None:
    targets = [fuzzed(len, "a stream"), fuzzed(len, "a document")]
    assert main(["--megabytes", "0", "docu"], targets) == 0
    assert capsys.readouterr().out.startswith("a document")
    assert main(["nothing"], targets) == 2
    assert "a stream, a document" in capsys.readouterr().err
