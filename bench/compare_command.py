"""Shell. `bench compare`: options in, tables out."""

import contextlib
import json
import shutil
import sys
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import click
import trio

from bench import compare, procfs
from bench.company import keep_busy
from bench.compare_report import render_compare_html
from bench.export import fill
from bench.peers import open_peer, parse_peers
from bench.tables import print_table
from bench.targets import (
    PROXY_CORE,
    Company,
    Target,
    can_pin,
    open_command,
    open_mock,
    open_mrproxy,
    open_nginx,
    parse_url,
    pin_generator,
)


def split_pair(text: str, what: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name or not value:
        raise click.BadParameter(f"{text!r} is not NAME={what}")
    return name, value


def parse_pids(texts: tuple[str, ...]) -> dict[str, str]:
    return dict(split_pair(text, "PID") for text in texts)


def running_target(name: str, url: str, pids: dict[str, str], key: str) -> Target:
    """A target that runs already; `auto` finds its process by the port it listens on."""
    host, port = parse_url(url)
    wanted = pids.get(name, "auto")
    found = [procfs.find_listener(port)] if wanted == "auto" else [int(pid) for pid in wanted.split(",")]
    roots = tuple(pid for pid in found if pid is not None)
    if can_pin():
        procfs.pin(list(roots), PROXY_CORE)
    return Target(name, host, port, roots, key)


# Who asks (what of `workload.PATHS`), and the engines of `bench mock`.
CALLERS = {"openai": "chat", "ollama": "ollama_chat", "anthropic": "messages"}
ENGINES = ("vllm", "ollama", "anthropic")


@click.command("compare")
@click.option("--target", "running", multiple=True, metavar="NAME=URL", help="Already running; repeatable.")
@click.option(
    "--pid",
    "--proxy-pid",
    "pids",
    multiple=True,
    metavar="NAME=PID",
    help="Process of a --target; comma-separated; default: auto.",
)
@click.option(
    "--start", "started", multiple=True, metavar="NAME=CMD", help="Started here; {port}, {upstream} are filled in."
)
@click.option("--ours", is_flag=True, help="Start `mrproxy serve` with keys, limits, scheduler and journal on.")
@click.option(
    "--ours-option", "ours_options", multiple=True, help="A further argument for `mrproxy serve`; repeatable."
)
@click.option(
    "--busy",
    type=int,
    metavar="RECORDS",
    help="Also `mrproxy serve` with so many records in its database (`stored`), and the same while its control process "
    "exports them, shows pages and takes more over (`busy`; `busy realtime` with --worker-realtime; `nginx beside` is "
    "nginx on the core of such a gateway).",
)
@click.option(
    "--translate",
    default="",
    metavar="CALLER:ENGINE,...",
    help="Also mrproxy's translating lane: "
    + ", ".join(f"{caller}:{engine}" for caller in CALLERS for engine in ENGINES)
    + ". Engines are mocks of their own.",
)
@click.option(
    "--peers", default="", help="Comma-separated: vllm-router, smg, envoy, as `bench peers install` installed them."
)
@click.option("--upstream", help="URL of a mock that runs already; default: one is started.")
@click.option("--key", default="", help="API key for --target and --start.")
@click.option("--model", default="mock-8b", show_default=True)
@click.option("--json-connections", default=32, show_default=True, help="0: leave the JSON workload out.")
@click.option("--streams", default="200,400", show_default=True, help="Comma-separated; empty: leave streams out.")
@click.option("--tokens-per-second", default=50.0, show_default=True, help="Of each stream.")
@click.option("--pacing", type=click.Choice(["independent", "step"]), default="independent", show_default=True)
@click.option("--seconds", default=6.0, show_default=True, help="Length of each window.")
@click.option("--alternations", default=3, show_default=True)
@click.option("--no-nginx", is_flag=True)
@click.option("--no-direct", is_flag=True)
@click.option("--json", "as_json", is_flag=True, help="JSON on standard output instead of tables.")
@click.option("--output", type=click.Path(path_type=Path), help="Also write the JSON here.")
@click.option("--html", "html_path", type=click.Path(path_type=Path), help="Also write a self-contained report here.")
def compare_command(
    running: tuple[str, ...],
    pids: tuple[str, ...],
    started: tuple[str, ...],
    streams: str,
    seconds: float,
    alternations: int,
    as_json: bool,
    output: Path | None,
    html_path: Path | None,
    **options: str | float | bool | tuple[str, ...] | None,
) -> None:
    """The same work through nginx, direct and every target, interleaved and pinned; ratios with their spread."""
    plan = compare.Plan(
        model=str(options["model"]),
        json_connections=int(str(options["json_connections"])),
        streams=tuple(int(part) for part in streams.split(",") if part.strip()),
        seconds=seconds,
        alternations=alternations,
    )
    known_pids = parse_pids(pids)
    key = str(options["key"])
    chosen = parse_peers(str(options["peers"]))
    if not pin_generator():
        click.echo("warning: fewer than two cores, nothing is pinned", err=True)
    with contextlib.ExitStack() as stack:
        upstream = _open_upstream(stack, options)
        targets = []
        nginx = None if options["no_nginx"] else stack.enter_context(open_nginx(upstream))
        if nginx is not None:
            targets.append(nginx)
        if not options["no_direct"]:
            targets.append(Target(compare.DIRECT, upstream.host, upstream.port, ()))
        if options["ours"]:
            extra = options["ours_options"]
            assert isinstance(extra, tuple)
            backend = f"vllm={upstream.url},max_concurrent=4096"
            targets.append(stack.enter_context(open_mrproxy([backend], options=extra)))
        if options["busy"]:
            targets += _open_busy(stack, upstream, int(str(options["busy"])), nginx)
        for caller, engine in parse_pairs(str(options["translate"])):
            targets.append(_open_translating(stack, caller, engine, options))
        targets += [stack.enter_context(open_peer(peer, upstream)) for peer in chosen]
        commands = [split_pair(text, "CMD") for text in started]
        targets += [stack.enter_context(open_command(name, command, upstream, key)) for name, command in commands]
        targets += [running_target(*split_pair(text, "URL"), known_pids, key) for text in running]
        rows = compare.run(plan, targets, lambda line: click.echo(line, err=True))
    report(plan, rows, as_json, output, html_path)


def _open_busy(stack: contextlib.ExitStack, upstream: Target, records: int, nginx: Target | None) -> list[Target]:
    """Gateways alike, of which all but the first have no peace; and nginx beside a gateway that has none."""
    template = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-records-"))) / "data"
    template.mkdir(mode=0o700)
    trio.run(fill, template, "", records)
    backend = f"vllm={upstream.url},max_concurrent=4096"

    def opened(name: str, *options: str, company: Company | None = None) -> Target:
        arguments = ("--records", *options)
        prepare = partial(shutil.copytree, template)
        return stack.enter_context(open_mrproxy([backend], name, arguments, prepare=prepare, company=company))

    busy = opened("busy", company=keep_busy)
    beside = [] if nginx is None else [replace(nginx, name="nginx beside", company=busy.company)]
    return [opened("stored"), busy, opened("busy realtime", "--worker-realtime", company=keep_busy), *beside]


def parse_pairs(text: str) -> list[tuple[str, str]]:
    """`openai:ollama,anthropic:vllm` → pairs of a caller's dialect and an engine's kind."""
    pairs = []
    for part in filter(None, (each.strip() for each in text.split(","))):
        caller, _, engine = part.partition(":")
        if caller not in CALLERS or engine not in ENGINES:
            raise click.BadParameter(f"{part!r} is not CALLER:ENGINE of {', '.join(CALLERS)} and {', '.join(ENGINES)}")
        pairs.append((caller, engine))
    return pairs


def _open_translating(
    stack: contextlib.ExitStack,
    caller: str,
    engine: str,
    options: dict[str, str | float | bool | tuple[str, ...] | None],
) -> Target:
    """mrproxy in front of an engine that does not speak the caller's dialect."""
    mock = stack.enter_context(open_mock(engine, *_pace(options)))
    # A context length is what makes requests from /v1 to Ollama go the translating lane (mrproxy/dialects/lanes.py).
    config = f"""
[[backends]]
kind = "{engine}"
url = "{mock.url}"
max_concurrent = 4096
{"num_ctx = 4096" if engine == "ollama" else 'api_key = "bench"'}
"""
    return stack.enter_context(open_mrproxy([], f"{caller}:{engine}", operation=CALLERS[caller], config_text=config))


def _pace(options: dict[str, str | float | bool | tuple[str, ...] | None]) -> tuple[str, ...]:
    itl_ms = 1000 / float(str(options["tokens_per_second"]))
    model, pacing = str(options["model"]), str(options["pacing"])
    arguments = ("--model", model, "--itl-ms", f"{itl_ms:g}", "--pacing", pacing)
    return (*arguments, "--max-num-seqs", "100000", "--json-ms", "0")


def _open_upstream(
    stack: contextlib.ExitStack, options: dict[str, str | float | bool | tuple[str, ...] | None]
) -> Target:
    if options["upstream"]:
        host, port = parse_url(str(options["upstream"]))
        return Target("mock", host, port, ())
    return stack.enter_context(open_mock("vllm", *_pace(options)))


def report(
    plan: compare.Plan, rows: list[compare.Row], as_json: bool, output: Path | None, html_path: Path | None
) -> None:
    value = compare.rows_as_json(plan, rows)
    if output is not None:
        write_report(output, json.dumps(value, indent=1))
    if html_path is not None:
        write_report(html_path, render_compare_html(value))
    if as_json:
        click.echo(json.dumps(value, indent=1))
    else:
        for workload in compare.workloads(plan):
            print_workload(workload, [row for row in rows if row.workload == workload])
    if any(row.errors for row in rows):
        sys.exit(2)


def write_report(path: Path, text: str) -> None:
    """Into a folder that need not exist: minutes of measuring must not be lost for want of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def print_workload(workload: str, rows: list[compare.Row]) -> None:
    unit = "request" if workload.startswith("json") else "token"
    base = next((row for row in rows if row.target == compare.NGINX), None)
    columns = [
        "target",
        "errors",
        f"CPU µs/{unit}",
        "÷ nginx",
        "p50 ms",
        "p99 ms",
        "p99 − nginx ms",
        f"{unit}s/s",
        "load core",
        "others",
    ]
    lines = []
    for row in rows:
        ratio = row.ratio(base, "cpu_us") if base is not None else None
        added = row.difference(base, "p99_ms") if base is not None else None
        cpu, share = row.spread("cpu_us"), row.spread("load_cpu_share")
        cells = [f"{cpu:.1f}" if cpu else "–", f"{ratio:.2f}" if ratio else "–"]
        cells += [f"{row.spread('p50_ms'):.2f}", f"{row.spread('p99_ms'):.2f}", f"{added:+.2f}" if added else "–"]
        rate = row.spread("per_second")
        others = row.spread("others_share")
        cells += [f"{rate.median:.0f}" if rate else "–", f"{share.median:.0%}" if share else "–"]
        cells.append(f"{others.high:.0%}" if others else "–")
        lines.append([row.target, str(row.errors), *cells])
    print_table(f"{workload}: median (min–max)", columns, lines)
    for row in rows:
        parts = row.cpu_by_process()
        if len(parts) > 1:
            click.echo(f"  {row.target}: " + ", ".join(f"{name} {used:.1f} µs" for name, used in parts.items()))
    for row in rows:
        for sample in row.samples:
            if sample.first_error:
                click.echo(f"  ! {row.target} {workload}: {sample.errors} errors, first: {sample.first_error}")
                break
