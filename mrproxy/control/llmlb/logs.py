"""Shell. `/dashboard/logs/router`, later called `/logs/lb`: what the gateway's processes logged last, oldest first.

Read next: `../admin/logs.py`; `mrproxy/telemetry/log_file.py`.
"""

from functools import partial
from typing import Annotated, Any

import msgspec
import trio
from msgspec import Meta

from mrproxy.control.admin.logs import MAX_ENTRIES
from mrproxy.control.api.call import Call
from mrproxy.control.api.endpoint import Answer, Endpoint
from mrproxy.control.llmlb.manners import Wanted
from mrproxy.control.permissions import Permission
from mrproxy.telemetry.log_file import Entry, LogFilter, read_log

# By which name it is asked for, and what it then says that it is.
SOURCES = {"router": "router", "lb": "load balancer"}
OWN = frozenset({"at", "level", "component", "event"})


class LogQuery(Wanted, frozen=True, kw_only=True):
    """As there, a number out of bounds is brought into them."""

    limit: Annotated[int, Meta(description=f"1 to {MAX_ENTRIES}.")] = 200


class EntryShown(msgspec.Struct, frozen=True, kw_only=True):
    """`target` is the process. No line of source code is known."""

    timestamp: str
    level: str
    target: str
    message: str
    fields: dict[str, Any]
    file: str | None = None
    line: int | None = None


class LogShown(msgspec.Struct, frozen=True, kw_only=True):
    """`path`: the directory of the files."""

    source: str
    entries: list[EntryShown]
    path: str


async def show_log(source: str, call: Call[None, LogQuery]) -> Answer:
    directory = call.plane.data_dir / "logs"
    limit = max(1, min(call.query.limit, MAX_ENTRIES))
    entries = await trio.to_thread.run_sync(read_log, directory, LogFilter(), limit)
    return Answer(value=LogShown(source=source, entries=[shown(each) for each in entries], path=str(directory)))


def shown(entry: Entry) -> EntryShown:
    return EntryShown(
        timestamp=str(entry.get("at", "")),
        level=str(entry.get("level", "info")),
        target=str(entry.get("component", "")),
        message=str(entry.get("event", "")),
        fields={name: value for name, value in entry.items() if name not in OWN},
    )


ENDPOINTS = tuple(
    Endpoint(
        "GET",
        f"/dashboard/logs/{name}",
        Permission.LOGS_READ,
        partial(show_log, source),
        query=LogQuery,
        answer=LogShown,
        summary="What the gateway's processes logged last",
        tag="llmlb: logs",
    )
    for name, source in SOURCES.items()
)
