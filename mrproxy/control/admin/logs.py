"""Shell. `/logs`: the events that each process wrote last, out of the files in which they are kept.

Not access lines: those are made from records, and `/records` has them with more to search by.
Read next: `mrproxy/telemetry/log_file.py`.
"""

from datetime import UTC
from typing import Annotated, Any, Literal

import msgspec
import trio
from msgspec import Meta

from mrproxy.control.admin.shapes import Moment
from mrproxy.control.api.call import Call
from mrproxy.control.api.endpoint import Answer, Endpoint
from mrproxy.control.permissions import Permission
from mrproxy.telemetry.log_file import LogFilter, read_log

MAX_ENTRIES = 1000

Named = Annotated[str, Meta(max_length=200)]


class LogQuery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    limit: Annotated[int, Meta(ge=1, le=MAX_ENTRIES, description="How many at most, the newest.")] = 200
    level: Annotated[Literal["debug", "info", "warning", "error"], Meta(description="The least severe.")] = "debug"
    component: Annotated[Named | None, Meta(description="`control`, `supervisor`, `worker w1` …")] = None
    since: Annotated[Moment | None, Meta(description="Written then or later.")] = None
    text: Annotated[Named | None, Meta(description="Somewhere in the entry, whatever its case.")] = None


class LogShown(msgspec.Struct, frozen=True, kw_only=True):
    """Oldest first. Each entry has `at`, `level`, `component`, `event`, and what the event is about."""

    entries: list[dict[str, str | int | float | bool | None]]


async def show_log(call: Call[Any, Any]) -> Answer:
    query: LogQuery = call.query
    since = None if query.since is None else query.since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
    wanted = LogFilter(query.level, query.component, since, query.text)
    entries = await trio.to_thread.run_sync(read_log, call.plane.data_dir / "logs", wanted, query.limit)
    return Answer(value=LogShown(entries=entries))


ENDPOINTS = (
    Endpoint(
        "GET",
        "/logs",
        Permission.LOGS_READ,
        show_log,
        query=LogQuery,
        answer=LogShown,
        summary="What the gateway's processes logged last",
        tag="logs",
    ),
)
