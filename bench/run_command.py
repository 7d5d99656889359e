"""Shell. `bench run` and `bench report`: options in, tables and files out.

Exit codes: 0 fine · 2 requests failed or answers differed · 3 the run is invalid (the generator could not keep up).
"""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from bench import compare, fidelity, procfs
from bench.compare_report import render_compare_html
from bench.report import format_bytes, format_ns, render_html
from bench.results import SHARES, RunResult, decode_result, encode_result
from bench.run import Runner, RunPlan
from bench.tables import print_table
from bench.targets import Target, open_mock, parse_url, pin_generator
from bench.workload import PATHS, RequestSpec

EXIT_FAILED, EXIT_INVALID = 2, 3
Options = dict[str, str | float | bool | None]


@click.command("run")
@click.option("--url", help="What to load; default: a mock of our own, directly.")
@click.option("--mock-url", help="The mock behind --url: answers are then compared with what it sent.")
@click.option("--key", "keys", multiple=True, help="API key; several keys are callers that take turns.")
@click.option("--operation", type=click.Choice(list(PATHS)), default="chat", show_default=True)
@click.option("--model", help="Default: the first model of our own mock.")
@click.option("--stream/--no-stream", default=True, show_default=True)
@click.option("--include-usage", is_flag=True, help="Ask for the usage event (OpenAI streams).")
@click.option("--concurrency", default=16, show_default=True, help="Closed loop: requests under way.")
@click.option("--rate", default=0.0, help="Open loop: requests per second.")
@click.option("--arrival", type=click.Choice(["constant", "poisson"]), default="constant", show_default=True)
@click.option("--seconds", default=10.0, show_default=True)
@click.option("--warm-seconds", default=1.0, show_default=True)
@click.option("--max-tokens", default=64, show_default=True)
@click.option("--prompt-bytes", default=400, show_default=True)
@click.option("--itl-ms", default=20.0, show_default=True, help="Of our own mock.")
@click.option("--seed", default=1, show_default=True)
@click.option("--pid", "pids", help="Processes to be measured: PID[,PID...], or auto: whoever listens on the port.")
@click.option("--max-lag-ms", default=5.0, show_default=True, help="Generator lag p99 beyond which a run is invalid.")
@click.option("--title", default="", help="Name of the run in tables and reports.")
@click.option(
    "--json", "json_path", type=click.Path(path_type=Path, allow_dash=True), help="Write the result; - : stdout."
)
@click.option("--html", "html_path", type=click.Path(path_type=Path), help="Write a self-contained report.")
def run_command(
    keys: tuple[str, ...], json_path: Path | None, html_path: Path | None, **options: str | float | bool | None
) -> None:
    """One load against one address: closed loop, or open loop with --rate; JSON or streams."""
    pin_generator()
    with contextlib.ExitStack() as stack:
        target, mock_url = open_target(stack, options)
        plan = plan_of(options, keys)
        on_progress = stack.enter_context(open_progress())
        result, record = Runner(plan, target, on_progress).run()
        if mock_url:
            sent = fidelity.fetch_sent(mock_url)
            altered = (record.altered_events, record.out_of_order)
            result.fidelity = fidelity.compare_answers(record.payloads, sent, *altered)
    to_stdout = json_path is not None and str(json_path) == "-"
    if to_stdout:
        click.echo(encode_result(result).decode())
    elif json_path is not None:
        json_path.write_bytes(encode_result(result))
    if html_path is not None:
        html_path.write_text(render_html(result))
    if not to_stdout:
        print_result(result)
    sys.exit(exit_code(result))


@click.command("report")
@click.argument("path", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--html", "html_path", type=click.Path(path_type=Path), help="Write the HTML report here.")
def report_command(path: Path, html_path: Path | None) -> None:
    """Show a stored run (`bench run --json FILE`) as tables or as HTML, or a comparison (`--output FILE`) as HTML."""
    try:
        if html_path is not None and json.loads(path.read_bytes()).get("schema") == compare.SCHEMA:
            html_path.write_text(render_compare_html(json.loads(path.read_bytes())))
            click.echo(f"wrote {html_path}")
            return
        result = decode_result(path.read_bytes())
    except ValueError as exc:
        raise click.ClickException(f"{path}: {exc}") from exc
    if html_path is not None:
        html_path.write_text(render_html(result))
        click.echo(f"wrote {html_path}")
    else:
        print_result(result)


def open_target(stack: contextlib.ExitStack, options: Options) -> tuple[Target, str]:
    """What is loaded, and the mock whose record of answers can be asked ("" if none)."""
    title = str(options["title"])
    if options["url"]:
        host, port = parse_url(str(options["url"]))
        pids = find_pids(options["pids"], port)
        return Target(title or "target", host, port, pids), str(options["mock_url"] or "")
    kind = "ollama" if str(options["operation"]).startswith("ollama") else "vllm"
    arguments = ["--itl-ms", str(options["itl_ms"]), "--max-num-seqs", "100000", "--seed", str(options["seed"])]
    if options["model"]:
        arguments += ["--model", str(options["model"])]
    mock = stack.enter_context(open_mock(kind, *arguments))
    return Target(title or mock.name, mock.host, mock.port, mock.pids), mock.url


def find_pids(text: object, port: int) -> tuple[int, ...]:
    if not text:
        return ()
    if text == "auto":
        found = procfs.find_listener(port)
        return () if found is None else (found,)
    return tuple(int(pid) for pid in str(text).split(","))


def plan_of(options: Options, keys: tuple[str, ...]) -> RunPlan:
    operation = str(options["operation"])
    default_model = "llama3.2" if operation.startswith("ollama") else "mock-8b"
    spec = RequestSpec(
        operation=operation,
        model=str(options["model"] or default_model),
        stream=bool(options["stream"]) and operation != "embeddings",
        max_tokens=int(str(options["max_tokens"])),
        prompt_bytes=int(str(options["prompt_bytes"])),
        include_usage=bool(options["include_usage"]),
    )
    return RunPlan(
        spec=spec,
        keys=keys or ("",),
        concurrency=int(str(options["concurrency"])),
        rate=float(str(options["rate"])),
        arrival=str(options["arrival"]),
        seconds=float(str(options["seconds"])),
        warm_seconds=float(str(options["warm_seconds"])),
        seed=int(str(options["seed"])),
        max_lag_seconds=float(str(options["max_lag_ms"])) / 1000,
    )


@contextlib.contextmanager
def open_progress() -> Iterator[Callable[[float], None]]:
    """A bar on a terminal, nothing on a pipe."""
    if not sys.stderr.isatty():
        yield lambda _share: None
        return
    columns = (TextColumn("load"), BarColumn(), TimeRemainingColumn())
    # No refresh thread: it would take time from the generator; the runner reports twice a second.
    with Progress(*columns, transient=True, auto_refresh=False) as progress:
        task = progress.add_task("load", total=1.0)

        def show(share: float) -> None:
            progress.update(task, completed=share)
            progress.refresh()

        yield show


def exit_code(result: RunResult) -> int:
    if result.invalid:
        return EXIT_INVALID
    differs = result.fidelity is not None and not result.fidelity.is_exact
    return EXIT_FAILED if result.failed or result.unfinished or differs else 0


def print_result(result: RunResult) -> None:
    """Errors first."""
    for reason in result.invalid:
        click.echo(f"INVALID: {reason}")
    for error, count in result.errors.items():
        click.echo(f"FAILED {count}: {error}")
    if result.unfinished:
        click.echo(f"UNFINISHED {result.unfinished}")
    rate = f"{result.succeeded / result.seconds:.1f} requests/s, {result.tokens / result.seconds:.0f} tokens/s"
    click.echo(f"{result.title} {result.url}: {result.succeeded} of {result.requests} succeeded, {rate}")
    if result.fidelity is not None:
        checked = result.fidelity
        note = (
            checked.note or f"{checked.identical} of {checked.checked} answers byte-identical to what the engine sent"
        )
        click.echo(f"bytes: {note}, {checked.altered_events} altered events, {checked.out_of_order} out of order")
    if result.cost is not None:
        cost = result.cost
        per = [f"{cost.cpu_us_per_request:.1f} µs/request"] if cost.cpu_us_per_request is not None else []
        per += [f"{cost.cpu_us_per_token:.1f} µs/token"] if cost.cpu_us_per_token is not None else []
        memory = f"RSS {format_bytes(cost.rss_bytes_start)} → {format_bytes(cost.rss_bytes_end)}"
        click.echo(
            f"CPU {cost.cpu_seconds:.2f} s, {', '.join(per)}; {memory}, peak {format_bytes(cost.rss_bytes_peak)}"
        )
    columns = ["ms", "count", "mean", *SHARES, "max"]
    lines = []
    for metric in result.metrics:
        shown = [format_ns(metric.percentiles.get(label)) for label in SHARES]
        lines.append([metric.title, str(metric.count), format_ns(metric.mean), *shown, format_ns(metric.maximum)])
    print_table("latency", columns, lines)
    if len(result.callers) > 1:
        lines = [[one.name, str(one.requests), str(one.failed), str(one.tokens)] for one in result.callers]
        print_table("callers", ["caller", "requests", "failed", "tokens"], lines)
