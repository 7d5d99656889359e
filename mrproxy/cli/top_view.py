"""Pure. What `mrproxy top` shows, out of `/status` and `/queue`. Read next: `mrproxy/control/status.py`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]

BACKENDS = ("name", "kind", "state", "in_flight", "slots", "ttft_seconds", "error")
MODELS = ("name", "backends", "routable", "waiting")
CALLERS = ("caller", "model", "waiting", "in_flight", "weight", "deficit_tokens")


@dataclass(frozen=True, slots=True)
class Scene:
    """`queue` is worker by worker; `why_no_queue` where it may not be seen."""

    status: Mapping[str, Any]
    queue: Sequence[Mapping[str, Any]]
    why_no_queue: str


@dataclass(frozen=True, slots=True)
class Section:
    """A table, or a note why there is none."""

    title: str
    columns: tuple[str, ...]
    rows: list[Row]
    note: str = ""


def headline(scene: Scene) -> str:
    status = scene.status
    readiness = "ready" if status["ready"] else f"not ready: {'; '.join(status['reasons'])}"
    counts = f"{status['in_flight']} in flight, {status['waiting']} waiting, {status['connections']} connections"
    warnings = f"; {'; '.join(status['warnings'])}" if status["warnings"] else ""
    return f"{readiness}; {counts}{warnings}"


def sections(scene: Scene) -> list[Section]:
    waiting = waiting_by_model(scene)
    models = [{**model, "waiting": waiting.pop(model["name"], 0)} for model in scene.status["models"]]
    models += [{"name": name, "backends": [], "routable": False, "waiting": count} for name, count in waiting.items()]
    silent = [f"worker {each['worker']}: {each['error']}" for each in scene.queue if each.get("error")]
    return [
        Section("backends", BACKENDS, [backend_row(each) for each in scene.status["backends"]]),
        Section("models", MODELS, models),
        Section("callers that wait", CALLERS, caller_rows(scene), scene.why_no_queue or "; ".join(silent)),
    ]


def backend_row(backend: Mapping[str, Any]) -> Row:
    return {**backend, "slots": backend["max_concurrent"], "error": backend["last_probe_error"]}


def waiting_by_model(scene: Scene) -> dict[str, int]:
    """Over all workers."""
    waiting: dict[str, int] = {}
    for queue in (queue for worker in scene.queue for queue in worker["flows"]):
        waiting[queue["model"]] = waiting.get(queue["model"], 0) + queue["waiting"]
    return waiting


def caller_rows(scene: Scene) -> list[Row]:
    """Who waits most comes first; one row for a caller and a model, over all workers."""
    rows: dict[tuple[str, str], Row] = {}
    for queue in (queue for worker in scene.queue for queue in worker["flows"]):
        for flow in queue["flows"]:
            new = {"caller": flow["flow_id"], "model": queue["model"], "weight": flow["weight"]}
            row = rows.setdefault((flow["flow_id"], queue["model"]), new)
            for name in ("waiting", "in_flight", "deficit_tokens"):
                row[name] = row.get(name, 0) + flow[name]
    return sorted(rows.values(), key=lambda row: (-row["waiting"], row["caller"], row["model"]))
