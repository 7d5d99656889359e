"""Shell. A look at an endpoint from the control process: what it is, which models it has, how long it took.

The same probe as the workers', over a connection of its own; what routing believes is what the workers found.
Read next: `mrproxy/upstream/probe.py`.
"""

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import trio

from mrproxy.control.admin.backends import box_of
from mrproxy.control.api.call import Call
from mrproxy.control.llmlb.endpoint_shapes import Known
from mrproxy.storage.backends import api_key_of
from mrproxy.storage.secrets import SecretUnreadable
from mrproxy.upstream.endpoint import Endpoint
from mrproxy.upstream.probe import Prober
from mrproxy.upstream.probing import ProbeError, ProbeResult

LOOK_SECONDS = 5.0
AUTO = "auto"
ANTHROPIC_HOST = "api.anthropic.com"


@dataclass(frozen=True, slots=True)
class Look:
    """`found` is the result, or why there is none; `has_answer`: something answered, if not what was hoped for."""

    found: ProbeResult | ProbeError
    latency_ms: float
    has_answer: bool


async def look_at(url: str, api_key: str | None, kind: str) -> Look:
    """Raises ValueError for what is no URL."""
    begun_at = trio.current_time()
    async with Prober(Endpoint(url, api_key, kind)) as prober:
        found: ProbeResult | ProbeError = ProbeError(f"no answer within {LOOK_SECONDS:.0f} s")
        with trio.move_on_after(LOOK_SECONDS):
            found = await prober.probe(kind)
        return Look(found, round((trio.current_time() - begun_at) * 1000, 3), prober.has_answer)


async def look_at_known(call: Call[Any, Any], known: Known) -> Look:
    """With its own key. What stands in the way is in the look."""
    try:
        return await look_at(known.url, await key_of(call, known), known.kind)
    except SecretUnreadable as exc:
        return Look(ProbeError(f"its API key cannot be read: {exc}"), 0.0, False)


async def key_of(call: Call[Any, Any], known: Known) -> str | None:
    """Raises SecretUnreadable."""
    if known.spec is not None:
        return known.spec.api_key
    return None if known.row is None else await call.read(api_key_of, known.row.id, box_of(call))


async def kind_of(url: str, api_key: str | None) -> str:
    """`auto` where nothing is found out: then the workers go on trying. Raises ValueError."""
    if urlsplit(url).hostname == ANTHROPIC_HOST:
        return "anthropic"
    look = await look_at(url, api_key, AUTO)
    return AUTO if isinstance(look.found, ProbeError) else look.found.kind


async def let_workers_look(call: Call[Any, Any], known: Known) -> None:
    """Now, rather than at their next turn."""
    if call.plane.tell is not None and known.live is not None:
        await call.plane.tell("POST", f"/backends/{quote(known.name, safe='')}/probe")
