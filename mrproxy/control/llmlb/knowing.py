"""Shell. All endpoints there are: configured and managed ones, with what the workers see.

An endpoint has a UUID. That of a configured one is made of its name, so it stays the same as long as that does.
Read next: `endpoint_shapes.py`.
"""

from typing import Any
from uuid import UUID, uuid5

from mrproxy.control.admin.backends import live_states
from mrproxy.control.api.call import Call
from mrproxy.control.llmlb.endpoint_shapes import Known
from mrproxy.control.llmlb.listing import read_all
from mrproxy.control.llmlb.manners import not_found
from mrproxy.control.status import BackendStatus
from mrproxy.link.snapshot import BackendSpec
from mrproxy.storage import backends
from mrproxy.storage.backends import BackendFilter, ManagedBackend

# Of version 4, made once for this purpose.
NAMESPACE = UUID("2c0c1a0e-6a1b-4d59-9c37-5f1e5a8f0b61")

Live = dict[str, BackendStatus]


async def all_known(call: Call[Any, Any]) -> list[Known]:
    live = await live_states(call)
    configured = sorted(call.plane.configured().backends, key=lambda each: each.name)
    names = {each.name for each in configured}
    managed = await read_all(call, backends.list_backends, BackendFilter())
    return [
        *(of_spec(each, live) for each in configured),
        *(of_row(each, live, each.name in names) for each in managed),
    ]


async def find_known(call: Call[Any, Any], wanted: str) -> Known:
    """By id or name. Raises Problem."""
    for known in await all_known(call):
        if wanted in (known.id, known.name):
            return known
    raise not_found("Endpoint")


def of_spec(spec: BackendSpec, live: Live) -> Known:
    return Known(id_of(spec.name), spec.name, spec.url, spec.kind, spec=spec, live=live.get(spec.name))


def of_row(row: ManagedBackend, live: Live, is_overridden: bool = False) -> Known:
    seen = None if is_overridden else live.get(row.name)
    return Known(row.uuid, row.name, row.url, row.kind, row=row, live=seen, is_overridden=is_overridden)


def id_of(configured: str) -> str:
    return str(uuid5(NAMESPACE, configured))
