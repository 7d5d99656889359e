"""Shell. `bench fairness`: starts mrproxy with weighted users, measures shares, compares throughput with first come,
first served.
"""

import contextlib
import json
import secrets
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from statistics import median

import click

from bench.fairness import FairnessLoad, FairnessOutcome, FairnessPlan
from bench.shares import documented_bound
from bench.tables import print_table
from bench.targets import open_mock, open_mrproxy, pin_generator

SHARE_TOLERANCE = 0.02
JAIN_FLOOR = 0.99
THROUGHPUT_FLOOR = 0.99


@click.command("fairness")
@click.option("--weights", default="3,2,1", show_default=True, help="One backlogged caller per weight.")
@click.option("--slots", default=16, show_default=True, help="Of the only backend.")
@click.option("--depth", default=64, show_default=True, help="Requests each caller keeps under way.")
@click.option("--seconds", default=15.0, show_default=True)
@click.option("--alternations", default=2, show_default=True, help="Turns of wdrr and fifo each.")
@click.option("--quantum-tokens", default=1000, show_default=True)
@click.option("--burst-cap-tokens", default=20000, show_default=True)
@click.option(
    "--itl-ms", default=0.5, show_default=True, help="Of the mock: small, so that many requests fit into the time."
)
@click.option(
    "--bound", type=float, help="Largest allowed difference of service / weight; default: as docs/scheduler.md."
)
@click.option("--json", "as_json", is_flag=True)
def fairness_command(
    weights: str,
    slots: int,
    depth: int,
    seconds: float,
    alternations: int,
    quantum_tokens: int,
    burst_cap_tokens: int,
    itl_ms: float,
    bound: float | None,
    as_json: bool,
) -> None:
    """Backlogged callers of weight 3:2:1: shares, Jain's index, service difference, throughput against fifo."""
    numbers = [int(part) for part in weights.split(",")]
    named = {f"weight {weight} (caller {index + 1})": weight for index, weight in enumerate(numbers)}
    keys = {name: "mr_" + secrets.token_urlsafe(32) for name in named}
    plan = FairnessPlan(named, keys, slots=slots, depth=depth, seconds=seconds)
    options = ("--quantum-tokens", str(quantum_tokens), "--burst-cap-tokens", str(burst_cap_tokens))
    pin_generator()
    outcomes: dict[str, list[FairnessOutcome]] = {"wdrr": [], "fifo": []}
    for turn in range(alternations):
        for scheduler in ("wdrr", "fifo"):
            click.echo(f"{turn + 1}/{alternations} {scheduler}", err=True)
            outcomes[scheduler].append(measure(plan, scheduler, itl_ms, options))
    if bound is None:
        bound = default_bound(plan, outcomes["wdrr"], quantum_tokens, burst_cap_tokens)
    summary = summarise(plan, outcomes, bound)
    if as_json:
        click.echo(json.dumps(summary, indent=1))
    else:
        show(summary)
    sys.exit(0 if not summary["failed"] else 2)


def measure(plan: FairnessPlan, scheduler: str, itl_ms: float, options: tuple[str, ...]) -> FairnessOutcome:
    with contextlib.ExitStack() as stack:
        # The engine has as many slots as the gateway may take: it must never be the one who queues.
        arguments = ("--itl-ms", f"{itl_ms:g}", "--prefill-ms", "1", "--max-num-seqs", str(plan.slots))
        mock = stack.enter_context(open_mock("vllm", "--model", plan.model, *arguments))
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-fairness-")))
        config = directory / "mrproxy.toml"
        config.write_text(users_as_toml(plan))
        backend = f"vllm={mock.url},max_concurrent={plan.slots}"
        flags = ("--config", str(config), "--scheduler", scheduler, *options)
        target = stack.enter_context(open_mrproxy([backend], options=flags))
        return FairnessLoad(plan, target, scheduler).run()


def users_as_toml(plan: FairnessPlan) -> str:
    parts = []
    for index, (name, weight) in enumerate(plan.weights.items()):
        parts.append(f'[[users]]\nname = "user{index}"\ngroup = "other"\nweight = {weight}\n')
        parts.append(f'[[keys]]\nname = "key{index}"\nuser = "user{index}"\nkey = "{plan.keys[name]}"\n')
    return "\n".join(parts)


def default_bound(plan: FairnessPlan, outcomes: list[FairnessOutcome], quantum: int, burst_cap: int) -> float:
    """As docs/scheduler.md derives it, service counted at completion.

    An estimate is at most prompt + max_tokens; it errs by at most the longest completion, prompts being learnt.
    """
    prompt = max(outcome.largest_prompt_tokens for outcome in outcomes)
    completion = max(outcome.largest_completion_tokens for outcome in outcomes)
    weights = list(plan.weights.values())
    return documented_bound(quantum, weights, prompt + completion, burst_cap, plan.slots, completion)


def summarise(plan: FairnessPlan, outcomes: dict[str, list[FairnessOutcome]], bound: float) -> dict[str, object]:
    fair = outcomes["wdrr"]
    expected = fair[0].log.expected_shares()
    shares = {name: median(outcome.log.shares()[name] for outcome in fair) for name in plan.weights}
    ratios = [
        one.tokens_per_second / other.tokens_per_second for one, other in zip(fair, outcomes["fifo"], strict=True)
    ]
    errors = [error for runs in outcomes.values() for outcome in runs for error in outcome.errors]
    difference = max(outcome.log.max_difference() for outcome in fair)
    jain = min(outcome.log.jain() for outcome in fair)
    failed = [f"{len(errors)} requests failed, first: {first}" for first in errors[:1]]
    failed += [
        f"share of {name} is {share:.3f}, expected {expected[name]:.3f}"
        for name, share in shares.items()
        if abs(share - expected[name]) > SHARE_TOLERANCE
    ]
    failed += [f"Jain's index is {jain:.4f}"] * (jain < JAIN_FLOOR)
    failed += [f"service difference {difference:.0f} exceeds the bound {bound:.0f}"] * (difference > bound)
    failed += [f"throughput is {median(ratios):.3f} of fifo's"] * (median(ratios) < THROUGHPUT_FLOOR)
    return {
        "schema": "bench.fairness/1",
        "plan": {key: value for key, value in asdict(plan).items() if key != "keys"},
        "callers": [
            {"name": name, "weight": weight, "expected": expected[name], "wdrr": shares[name]}
            | {"fifo": median(outcome.log.shares()[name] for outcome in outcomes["fifo"])}
            for name, weight in plan.weights.items()
        ],
        "jain": {name: min(outcome.log.jain() for outcome in runs) for name, runs in outcomes.items()},
        "max_difference": {name: max(o.log.max_difference() for o in runs) for name, runs in outcomes.items()},
        "bound": bound,
        "tokens_per_second": {name: median(o.tokens_per_second for o in runs) for name, runs in outcomes.items()},
        "throughput_to_fifo": median(ratios),
        "failed": failed,
    }


def show(summary: dict[str, object]) -> None:
    failed, callers = summary["failed"], summary["callers"]
    assert isinstance(failed, list)
    assert isinstance(callers, list)
    for reason in failed:
        click.echo(f"FAILED: {reason}")
    lines = [[one["name"], *(f"{one[column]:.2%}" for column in ("expected", "wdrr", "fifo"))] for one in callers]
    print_table("share of tokens", ["caller", "expected", "wdrr", "fifo"], lines)
    both = []
    for title, name, form in (
        ("Jain's index of service / weight, lowest", "jain", ".4f"),
        ("largest difference of service / weight, tokens", "max_difference", ".0f"),
        ("tokens/s", "tokens_per_second", ".0f"),
    ):
        values = summary[name]
        assert isinstance(values, dict)
        both.append([title, f"{values['wdrr']:{form}}", f"{values['fifo']:{form}}"])
    print_table("both", ["", "wdrr", "fifo"], both)
    click.echo(
        f"bound on the difference: {summary['bound']:.0f}; throughput ÷ fifo: {summary['throughput_to_fifo']:.3f}"
    )
