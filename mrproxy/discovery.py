"""Shell. With no backend configured: which inference servers run on this machine, on their usual ports?

Only the loopback interface is asked, and only for what a probe asks anyway. A server counts when it answers as one of
the kinds we know; one that wants a key does not, because we have none for it. Found ones are named by kind and port,
as in `--backend`, so that they can be copied into a configuration as they are.
"""

from collections.abc import Sequence

import trio

from mrproxy.config import Backend
from mrproxy.config.tables import name_for
from mrproxy.upstream.endpoint import Endpoint
from mrproxy.upstream.probe import Prober
from mrproxy.upstream.probing import ProbeError

# Loopback answers in microseconds or refuses; this is for a server that is busy loading.
ANSWER_SECONDS = 2.0


async def find_engines(ports: Sequence[int], host: str = "127.0.0.1") -> tuple[Backend, ...]:
    """The engines that answer on these ports of `host`, in the order of the ports."""
    found: dict[int, Backend] = {}
    async with trio.open_nursery() as nursery:
        for port in ports:
            nursery.start_soon(ask_port, f"http://{host}:{port}", port, found, name=f"discover {port}")
    return tuple(found[port] for port in ports if port in found)


async def ask_port(url: str, port: int, found: dict[int, Backend]) -> None:
    with trio.move_on_after(ANSWER_SECONDS):
        async with Prober(Endpoint(url)) as prober:
            result = await prober.probe("auto")
        if not isinstance(result, ProbeError):
            found[port] = Backend(kind=result.kind, url=url, name=name_for(result.kind, url))
