"""Shell. `bench departures`: how soon the engine sees that a client has left, through a gateway.

Clients leave one after the other in the middle of a phase; the mock stamps when it saw each connection close. Both
lists are in order of time, so the n-th departure belongs to the n-th closing as long as they are spaced wider than
they take.
"""

import contextlib
import json
import sys
import time

import click

from bench.answers import Answer, TokenStream
from bench.client import Client, Job
from bench.fidelity import control
from bench.reactor import Reactor
from bench.summary import percentile
from bench.tables import print_table
from bench.targets import Target, open_command, open_mock, open_mrproxy, open_nginx, pin_generator
from bench.workload import RequestSpec, encode_request

# Phase: what the mock is told so that a request stays in it, and whether the client streams.
PHASES = {
    "streaming": (("--itl-ms", "20", "--prefill-ms", "1"), True),
    "before the first token": (("--prefill-ms", "60000"), True),
    "before the answer": (("--json-ms", "60000"), False),
}
STAY_SECONDS = 0.15  # in the phase, before leaving
SETTLE_SECONDS = 1.0


@click.command("departures")
@click.option("--clients", default=200, show_default=True, help="Per phase.")
@click.option("--spacing-ms", default=10.0, show_default=True, help="Between two departures.")
@click.option("--target", type=click.Choice(["ours", "nginx", "direct"]), default="ours", show_default=True)
@click.option("--start", help="Measure this command instead; {port} and {upstream} are filled in.")
@click.option("--key", default="", help="API key for --start.")
@click.option("--limit-ms", default=100.0, show_default=True, help="Exit 2 when p99 is beyond.")
@click.option("--json", "as_json", is_flag=True)
def departures_command(
    clients: int, spacing_ms: float, target: str, start: str | None, key: str, limit_ms: float, as_json: bool
) -> None:
    """Clients that leave while streaming, before the first token, before the answer: when does the engine notice?"""
    pin_generator()
    found: dict[str, list[float]] = {}
    for phase, (arguments, streams) in PHASES.items():
        click.echo(phase, err=True)
        with contextlib.ExitStack() as stack:
            mock = stack.enter_context(open_mock("vllm", "--max-num-seqs", "100000", *arguments))
            measured = open_measured(stack, target, start, key, mock)
            found[phase] = measure(measured, mock.url, streams, clients, spacing_ms / 1000)
    failed = [phase for phase, delays in found.items() if not is_within(delays, clients, limit_ms)]
    if as_json:
        click.echo(json.dumps({"schema": "bench.departures/1", "milliseconds": found, "failed": failed}))
    else:
        lines = [[phase, f"{len(delays)} of {clients}", *percentiles(delays)] for phase, delays in found.items()]
        title = f"{start or target}: from the client's departure to the closing at the engine, ms"
        print_table(title, ["phase", "noticed", "p50", "p99", "max"], lines)
    sys.exit(2 if failed else 0)


def open_measured(stack: contextlib.ExitStack, target: str, start: str | None, key: str, mock: Target) -> Target:
    if start:
        return stack.enter_context(open_command("target", start, mock, key))
    if target == "nginx":
        return stack.enter_context(open_nginx(mock))
    if target == "direct":
        return mock
    return stack.enter_context(open_mrproxy([f"vllm={mock.url},max_concurrent=100000"]))


def measure(target: Target, mock_url: str, streams: bool, clients: int, spacing_seconds: float) -> list[float]:
    """Milliseconds per departure; fewer than `clients` if some were never noticed."""
    control(mock_url, "POST", "/_mock/reset")
    left = leave(target, streams, clients, spacing_seconds)
    time.sleep(SETTLE_SECONDS)
    stats = control(mock_url, "GET", "/_mock/stats")
    return pair_departures(left, [entry["at_ns"] for entry in stats["aborted"]])


def leave(target: Target, streams: bool, clients: int, spacing_seconds: float) -> list[int]:
    """Open, stay, leave, for each client in turn; returns when each left."""
    reactor = Reactor()
    client = Client(reactor, target.host, target.port)
    payload = encode_request(RequestSpec(stream=streams, max_tokens=100_000, key=target.key))
    left: list[int] = []

    def begin(_due: int) -> int:
        job = Job(payload, TokenStream(lambda _delay: None) if streams else Answer(), lambda _job: None)
        client.start(job)

        def go(_due: int) -> int:
            left.append(time.monotonic_ns())
            client.abandon(job)
            return 0

        reactor.call_at(time.monotonic_ns() + int(STAY_SECONDS * 1e9), go)
        return 0

    start = time.monotonic_ns()
    for index in range(clients):
        reactor.call_at(start + int(index * spacing_seconds * 1e9), begin)
    reactor.run_until(start + int((clients * spacing_seconds + STAY_SECONDS + 0.1) * 1e9))
    client.close()
    reactor.close()
    return left


def pair_departures(left_ns: list[int], noticed_ns: list[int]) -> list[float]:
    return [(seen - left) / 1e6 for left, seen in zip(sorted(left_ns), sorted(noticed_ns), strict=False)]


def is_within(delays_ms: list[float], clients: int, limit_ms: float) -> bool:
    return len(delays_ms) == clients and percentile(sorted(delays_ms), 0.99) <= limit_ms


def percentiles(delays_ms: list[float]) -> list[str]:
    if not delays_ms:
        return ["–", "–", "–"]
    ordered = sorted(delays_ms)
    return [f"{percentile(ordered, share):.2f}" for share in (0.5, 0.99)] + [f"{ordered[-1]:.2f}"]
