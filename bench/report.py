"""Pure. A run as a self-contained HTML page: inline CSS and SVG, no script, no network."""

import html
import math
from collections.abc import Callable

from bench.histogram import Histogram, bucket_bounds
from bench.results import SHARES, Metric, RunResult

WIDTH, HEIGHT = 640, 220
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 10, 34
COLOURS = ("#2563eb", "#dc2626", "#059669", "#9333ea", "#d97706")

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2937; max-width: 1000px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; margin: .5rem 0; }
td, th { padding: .25rem .7rem; border-bottom: 1px solid #e5e7eb; }
td { text-align: right; font-variant-numeric: tabular-nums; } th { text-align: left; font-weight: 600; }
.bad { background: #fee2e2; border-left: 4px solid #dc2626; padding: .5rem 1rem; }
.good { background: #dcfce7; border-left: 4px solid #059669; padding: .5rem 1rem; }
small, .note { color: #6b7280; } svg { background: #fff; border: 1px solid #e5e7eb; max-width: 100%; height: auto; }
"""

NOTE = (
    "Latencies count from the intended start of a request (no coordinated omission). TTFT: first token event. "
    "Delay per token: arrival at the client minus the engine's stamp, one clock. Inter-token gaps are pooled over all "
    "streams. A percentile is shown only with at least ten samples beyond it."
)


def format_ns(value: float | None) -> str:
    if value is None:
        return "–"
    milliseconds = value / 1e6
    return f"{milliseconds:.3f}" if milliseconds < 10 else f"{milliseconds:.1f}"


def format_bytes(value: int) -> str:
    return f"{value / 1e6:.1f} MB"


def render_html(result: RunResult) -> str:
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>bench: {html.escape(result.title)}</title>",
        f"<style>{STYLE}</style><h1>bench run · {html.escape(result.title)} · {html.escape(result.url)}</h1>",
        _verdict(result),
        _summary(result),
        "<h2>Latency, ms</h2>" + _metric_table(result.metrics),
        "<h2>Distributions</h2>" + _distributions(result.metrics),
        "<h2>Over time</h2>" + _timeline(result),
        _callers(result),
        _facts("Plan", result.plan) + _facts("Environment", result.environment),
        f"<p class=note>{NOTE}</p></html>",
    ]
    return "\n".join(parts)


def _verdict(result: RunResult) -> str:
    lines = [f"<b>Invalid run:</b> {html.escape(reason)}" for reason in result.invalid]
    lines += [f"<b>{count} failed:</b> {html.escape(error)}" for error, count in result.errors.items()]
    if result.unfinished:
        lines.append(f"<b>{result.unfinished}</b> requests were still unfinished after the grace")
    fidelity = result.fidelity
    if fidelity is not None and not fidelity.is_exact:
        lines.append(f"<b>{fidelity.checked - fidelity.identical}</b> answers differ from what the engine sent")
    if lines:
        return "<div class=bad>" + "<br>".join(lines) + "</div>"
    checked = f", {fidelity.identical} answers byte-identical" if fidelity is not None and fidelity.checked else ""
    return f"<div class=good>{result.succeeded} of {result.requests} requests succeeded{checked}.</div>"


def _summary(result: RunResult) -> str:
    facts = {
        "requests/s": f"{result.succeeded / result.seconds:.1f}",
        "tokens/s": f"{result.tokens / result.seconds:.0f}",
        "seconds": f"{result.seconds:.1f}",
    }
    cost = result.cost
    if cost is not None:
        facts["CPU seconds"] = f"{cost.cpu_seconds:.2f}"
        if cost.cpu_us_per_request is not None:
            facts["CPU µs/request"] = f"{cost.cpu_us_per_request:.1f}"
        if cost.cpu_us_per_token is not None:
            facts["CPU µs/token"] = f"{cost.cpu_us_per_token:.1f}"
        facts["RSS at the end (peak)"] = f"{format_bytes(cost.rss_bytes_end)} ({format_bytes(cost.rss_bytes_peak)})"
    return _facts("Summary", facts)


def _facts(title: str, facts: dict[str, str] | dict[str, str | int | float | bool]) -> str:
    rows = "".join(f"<tr><th>{html.escape(key)}<td>{html.escape(str(value))}" for key, value in facts.items())
    return f"<h2>{title}</h2><table>{rows}</table>"


def _metric_table(metrics: list[Metric]) -> str:
    header = "<tr><th>metric<th>count<th>mean" + "".join(f"<th>{label}" for label in SHARES) + "<th>max"
    rows = []
    for metric in metrics:
        cells = [str(metric.count), format_ns(metric.mean)]
        cells += [format_ns(metric.percentiles.get(label)) for label in SHARES] + [format_ns(metric.maximum)]
        rows.append(f"<tr><th>{html.escape(metric.title)}" + "".join(f"<td>{cell}" for cell in cells))
    return f"<table>{header}{''.join(rows)}</table>"


def _callers(result: RunResult) -> str:
    if len(result.callers) < 2:
        return ""
    rows = "".join(
        f"<tr><th>{html.escape(caller.name)}<td>{caller.requests}<td>{caller.failed}<td>{caller.tokens}"
        for caller in result.callers
    )
    return f"<h2>Callers</h2><table><tr><th>caller<th>requests<th>failed<th>tokens{rows}</table>"


def _distributions(metrics: list[Metric]) -> str:
    """Percentile plots: the share of samples at or below a value, values on a log scale."""
    shown = [metric for metric in metrics if metric.name != "lag"]
    lines = [(metric.title, cumulative(metric.histogram())) for metric in shown]
    return plot(lines, "ms (log)", "share", is_log=True)


def cumulative(histogram: Histogram) -> list[tuple[float, float]]:
    """(milliseconds, share of samples at or below)."""
    points, seen = [], 0
    for bucket, count in histogram.buckets():
        seen += count
        points.append((max(bucket_bounds(bucket)[1], 1) / 1e6, seen / histogram.count))
    return points


def _timeline(result: RunResult) -> str:
    seconds = [second for second in result.timeline if 0 <= second.at_seconds < result.seconds]
    if not seconds:
        return ""
    finished = [(float(second.at_seconds), float(second.finished)) for second in seconds]
    failed = [(float(second.at_seconds), float(second.failed)) for second in seconds]
    lines = [("finished/s", finished), ("failed/s", failed)]
    out = plot(lines, "seconds", "requests/s")
    memory = [(float(second.at_seconds), second.rss_bytes / 1e6) for second in seconds if second.rss_bytes]
    return out + (plot([("RSS", memory)], "seconds", "MB") if memory else "")


def plot(lines: list[tuple[str, list[tuple[float, float]]]], x_title: str, y_title: str, is_log: bool = False) -> str:
    """Lines over a common pair of axes, as SVG."""
    points = [point for _, line in lines for point in line]
    if not points:
        return ""

    def scaled(x: float) -> float:
        return math.log10(x) if is_log else x

    low, high = min(scaled(x) for x, _ in points), max(scaled(x) for x, _ in points)
    top = max(y for _, y in points) or 1.0
    span = (high - low) or 1.0

    def place(x: float, y: float) -> tuple[float, float]:
        across = LEFT + (scaled(x) - low) / span * (WIDTH - LEFT - RIGHT)
        return across, HEIGHT - BOTTOM - y / top * (HEIGHT - TOP - BOTTOM)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img" font-size="11" fill="#374151">']
    parts += _axes(low, high, top, place, is_log)
    for index, (title, line) in enumerate(lines):
        colour = COLOURS[index % len(COLOURS)]
        path = " ".join("{:.1f},{:.1f}".format(*place(x, y)) for x, y in line)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        label = f'<text x="{WIDTH - 16}" y="{TOP + 12 + 13 * index}" text-anchor="end" fill="{colour}">'
        parts.append(f"{label}{html.escape(title)}</text>")
    parts.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 4}" text-anchor="middle">{x_title}</text>')
    parts.append(f'<text x="4" y="{TOP + 2}">{y_title}</text></svg>')
    return "".join(parts)


def _axes(
    low: float, high: float, top: float, place: Callable[[float, float], tuple[float, float]], is_log: bool
) -> list[str]:
    ticks = [10.0**power for power in range(math.ceil(low), math.floor(high) + 1)] if is_log else _even_ticks(low, high)
    parts = []
    for x in ticks:
        across, bottom = place(x, 0)
        parts.append(f'<line x1="{across:.1f}" x2="{across:.1f}" y1="{TOP}" y2="{bottom:.1f}" stroke="#e5e7eb"/>')
        parts.append(f'<text x="{across:.1f}" y="{bottom + 13:.1f}" text-anchor="middle">{x:g}</text>')
    origin = 10**low if is_log else low
    for y in _even_ticks(0, top):
        left, up = place(origin, y)
        parts.append(f'<line x1="{left:.1f}" x2="{WIDTH - RIGHT}" y1="{up:.1f}" y2="{up:.1f}" stroke="#e5e7eb"/>')
        parts.append(f'<text x="{left - 4:.1f}" y="{up + 4:.1f}" text-anchor="end">{y:g}</text>')
    return parts


def _even_ticks(low: float, high: float) -> list[float]:
    """About five round numbers from low to high."""
    span = (high - low) or 1.0
    step = 10 ** math.floor(math.log10(span / 4))
    for factor in (1, 2, 5, 10):
        if span / (step * factor) <= 5:
            step *= factor
            break
    first = math.ceil(low / step)
    return [round(index * step, 10) for index in range(first, int(high / step) + 1)]
