"""Shell. The connections of the control socket: Hypercorn speaks HTTP and WebSocket on each, behind a fence.

Hypercorn's own `serve` keeps all connections in one nursery, so an exception out of one ends them all, and the process
with them. Anybody can raise one: bytes behind a WebSocket upgrade that is being refused make its
`protocol/ws_stream.py` answer a second time, to which h11 objects. Here an exception ends its own connection.
"""

import socket
from collections.abc import Callable
from functools import partial
from typing import Any

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState


class Connection(TCPServer):
    """Ends with its client. Hypercorn's would keep its descriptor until the idle task ends, 75 s later."""

    async def _read_data(self) -> None:
        await super()._read_data()
        await self.idle_task.stop()


async def serve_connections(
    app: Any,
    config: Config,
    listener: socket.socket,
    *,
    drain: trio.Event,
    report: Callable[[Exception], object],
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve an ASGI application until `drain`; what runs then has `config.graceful_timeout` seconds left.

    `started()` once it accepts. `listener` stays its owner's. `report` learns of what a connection raised.
    """
    wrapped, context, state = ASGIWrapper(app), WorkerContext(None), ConnectionState({})
    lifespan = Lifespan(wrapped, config, state)
    ours = trio.SocketListener(trio.socket.from_stdlib_socket(listener.dup()))

    async def speak(stream: trio.SocketStream) -> None:
        try:
            # Annotated for TLS alone, which it tells by itself.
            await Connection(wrapped, config, context, state, stream)  # type: ignore[arg-type]
        except* Exception as group:
            report(group)

    async with trio.open_nursery() as beside:
        await beside.start(lifespan.handle_lifespan)
        await lifespan.wait_for_startup()
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting:
                accepting.start_soon(partial(trio.serve_listeners, speak, [ours], handler_nursery=connections))
                task_status.started()
                await drain.wait()
                accepting.cancel_scope.cancel(reason="draining")
            await context.terminated.set()
            connections.cancel_scope.deadline = trio.current_time() + config.graceful_timeout
        await lifespan.wait_for_shutdown()
        beside.cancel_scope.cancel(reason="served")
