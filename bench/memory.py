"""Shell. `bench memory`: resident memory and file descriptors per open stream of a gateway, process by process.

Streams are opened through the gateway and kept flowing slowly; memory is read before, while all are open, and after all
have left. A first, smaller crowd comes and goes before the baseline, so that what is allocated once does not count.
"""

import contextlib
import json
import resource
import sys
import time

import click

from bench import procfs
from bench.client import Client
from bench.loads import StreamLoad
from bench.reactor import Reactor
from bench.tables import print_table
from bench.targets import Target, open_command, open_mock, open_mrproxy, open_nginx, pin_generator
from bench.workload import RequestSpec, encode_request

WARM_STREAMS = 100
REST_SECONDS = 1.5
OUTLAST_TOKENS = 10_000_000


@click.command("memory")
@click.option("--streams", default=3000, show_default=True)
@click.option("--target", type=click.Choice(["ours", "nginx"]), default="ours", show_default=True)
@click.option("--start", help="Measure this command instead; {port} and {upstream} are filled in.")
@click.option("--key", default="", help="API key for --start.")
@click.option("--itl-ms", default=500.0, show_default=True, help="Between two tokens of a stream.")
@click.option("--hold-seconds", default=5.0, show_default=True)
@click.option("--limit-kb", default=20.0, show_default=True, help="Exit 2 when a stream costs more.")
@click.option("--json", "as_json", is_flag=True)
def memory_command(
    streams: int,
    target: str,
    start: str | None,
    key: str,
    itl_ms: float,
    hold_seconds: float,
    limit_kb: float,
    as_json: bool,
) -> None:
    """Memory per open stream: N streams through `mrproxy serve` (or --start CMD), RSS before, with them, and after."""
    raise_file_limit()
    pin_generator()
    with contextlib.ExitStack() as stack:
        arguments = ("--itl-ms", f"{itl_ms:g}", "--max-num-seqs", "100000")
        mock = stack.enter_context(open_mock("vllm", *arguments))
        measured = open_measured(stack, target, start, key, mock)
        usages, flowing = hold_streams(measured, streams, hold_seconds)
    before, during, after = usages
    per_stream_kb = (during.rss_bytes - before.rss_bytes) / 1024 / streams
    summary = {
        "schema": "bench.memory/1",
        "target": measured.name,
        "streams": streams,
        "flowing": flowing,
        "rss_bytes": {"before": before.rss_bytes, "during": during.rss_bytes, "after": after.rss_bytes},
        "open_files": {"before": before.open_files, "during": during.open_files, "after": after.open_files},
        "kb_per_stream": per_stream_kb,
    }
    if as_json:
        click.echo(json.dumps(summary, indent=1))
    else:
        lines = [
            [name, f"{usage.rss_bytes / 1e6:.1f}", str(usage.open_files)]
            for name, usage in (("before", before), (f"{flowing} streams open", during), ("after", after))
        ]
        print_table(f"{measured.name}: memory", ["", "RSS MB", "open files"], lines)
        click.echo(f"{per_stream_kb:.1f} KB per stream")
    sys.exit(0 if flowing == streams and per_stream_kb <= limit_kb else 2)


def open_measured(stack: contextlib.ExitStack, target: str, start: str | None, key: str, mock: Target) -> Target:
    if start:
        return stack.enter_context(open_command("target", start, mock, key))
    if target == "nginx":
        return stack.enter_context(open_nginx(mock))
    return stack.enter_context(open_mrproxy([f"vllm={mock.url},max_concurrent=100000"]))


def raise_file_limit() -> None:
    """To the hard limit, for children too: a stream needs a descriptor here, one in the mock, two in the gateway."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def hold_streams(target: Target, streams: int, hold_seconds: float) -> tuple[list[procfs.Usage], int]:
    """Usage before, during and after; and how many streams flowed."""
    crowd(target, min(WARM_STREAMS, streams), 0.5)
    time.sleep(REST_SECONDS)
    pids = procfs.list_tree(list(target.pids))
    before = procfs.sample(pids)
    during, flowing = crowd(target, streams, hold_seconds)
    time.sleep(REST_SECONDS)
    return [before, during, procfs.sample(pids)], flowing


def crowd(target: Target, streams: int, hold_seconds: float) -> tuple[procfs.Usage, int]:
    reactor = Reactor()
    client = Client(reactor, target.host, target.port)
    spec = RequestSpec(stream=True, max_tokens=OUTLAST_TOKENS, key=target.key)
    load = StreamLoad(client, encode_request(spec), streams, reactor)
    ramp_seconds = streams / 1000
    load.open(ramp_seconds)
    reactor.run_until(time.monotonic_ns() + int((ramp_seconds + hold_seconds) * 1e9))
    usage = procfs.sample(procfs.list_tree(list(target.pids)))
    window = load.close_window()
    for error in window.errors[:3]:
        click.echo(f"  ! {error}", err=True)
    flowing = load.flowing - len(window.errors)
    load.close()
    reactor.close()
    return usage, max(flowing, 0)
