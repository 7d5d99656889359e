"""Pure. A comparison as a self-contained HTML page: per workload a table, and bars of CPU and p99 for each target."""

import html
from typing import Any

from bench.report import COLOURS, STYLE

BAR_WIDTH, ROW_HEIGHT, LABEL_WIDTH = 420, 24, 150
NOTE = (
    "Proxies on one core, generator and mock engine on the other; targets take turns within each alternation. "
    "CPU: user + system time of the target's whole process tree over the steady window. "
    "Delay per token: arrival at the client minus the engine's stamp, one clock. "
    "Ratios are paired within an alternation; median (lowest–highest)."
)
COLUMNS = {
    "cpu_us": "CPU µs",
    "cpu_to_nginx": "÷ nginx",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "p99_ms_over_nginx": "p99 − nginx ms",
    "per_second": "per second",
}


def render_compare_html(value: dict[str, Any]) -> str:
    """From what `bench compare --output` stores."""
    rows: list[dict[str, Any]] = value["rows"]
    workloads = list(dict.fromkeys(row["workload"] for row in rows))
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>bench compare</title>",
        f"<style>{STYLE}</style><h1>bench compare</h1><p class=note>{NOTE}</p>",
    ]
    for workload in workloads:
        chosen = [row for row in rows if row["workload"] == workload]
        parts.append(f"<h2>{html.escape(workload)}</h2>" + _errors(chosen) + _table(chosen))
        parts.append(_bars(chosen, "cpu_us", "CPU µs per request or token"))
        parts.append(_bars(chosen, "p99_ms", "p99, ms"))
    environment = value.get("environment", {})
    facts = "".join(f"<tr><th>{html.escape(key)}<td>{html.escape(text)}" for key, text in environment.items())
    return "\n".join([*parts, f"<h2>Environment</h2><table>{facts}</table></html>"])


def _errors(rows: list[dict[str, Any]]) -> str:
    lines = []
    for row in rows:
        first = next((sample["first_error"] for sample in row["samples"] if sample["first_error"]), "")
        if row["errors"]:
            lines.append(f"<b>{html.escape(row['target'])}: {row['errors']} errors</b>, first: {html.escape(first)}")
    return f"<div class=bad>{'<br>'.join(lines)}</div>" if lines else ""


def _table(rows: list[dict[str, Any]]) -> str:
    lines = ["<tr><th>target" + "".join(f"<th>{title}" for title in COLUMNS.values())]
    for row in rows:
        cells = "".join(f"<td>{format_spread(row[name])}" for name in COLUMNS)
        lines.append(f"<tr><th>{html.escape(row['target'])}{cells}")
    return f"<table>{''.join(lines)}</table>"


def format_spread(spread: dict[str, float] | None) -> str:
    if spread is None:
        return "–"
    digits = 0 if abs(spread["median"]) >= 1000 else 2
    return f"{spread['median']:.{digits}f} ({spread['low']:.{digits}f}–{spread['high']:.{digits}f})"


def _bars(rows: list[dict[str, Any]], name: str, title: str) -> str:
    """One bar per target, with a line from the lowest to the highest turn."""
    shown = [(row["target"], row[name]) for row in rows if row[name] is not None]
    longest = max((spread["high"] for _, spread in shown), default=0.0)
    if longest <= 0:
        return ""
    height = ROW_HEIGHT * (len(shown) + 1)
    width = LABEL_WIDTH + BAR_WIDTH + 80
    parts = [f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img" font-size="12" fill="#374151">']
    parts.append(f'<text x="4" y="15" font-weight="600">{html.escape(title)}</text>')
    for index, (target, spread) in enumerate(shown):
        top = ROW_HEIGHT * (index + 1)
        middle = top + ROW_HEIGHT / 2 - 2
        low, mid, high = (max(0.0, spread[key]) / longest * BAR_WIDTH for key in ("low", "median", "high"))
        colour = COLOURS[index % len(COLOURS)]
        parts.append(f'<text x="4" y="{top + 14}">{html.escape(target)}</text>')
        parts.append(f'<rect x="{LABEL_WIDTH}" y="{top + 3}" width="{mid:.1f}" height="14" fill="{colour}"/>')
        span = f'x1="{LABEL_WIDTH + low:.1f}" x2="{LABEL_WIDTH + high:.1f}" y1="{middle}" y2="{middle}"'
        parts.append(f'<line {span} stroke="#111827" stroke-width="2"/>')
        parts.append(f'<text x="{LABEL_WIDTH + high + 6:.1f}" y="{top + 14}">{spread["median"]:.2f}</text>')
    return "".join(parts) + "</svg>"
