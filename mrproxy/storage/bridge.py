"""Shell. The one asyncio event loop of this program, in a thread of its own: the drivers of databases need it.

Theory of operation:
1. A call crosses by `call_soon_threadsafe`, its end comes back by `TrioToken.run_sync_soon`. Between the two the trio
   task waits; the asyncio task belongs to it and to nobody else.
2. Cancelling the trio task cancels the asyncio task and waits, shielded but not for ever, until that has cleaned up.
   Work that was finished all the same returns its result: `Cancelled` means that it did not happen.
3. What the asyncio side raises is raised by `run`. If asyncio cancels the task itself, or ends, that is BridgeClosed.
4. The two threads send each other messages, and what one changes the other only reads when told. So there are no locks.

No nursery: one would wrap the errors of the block in a group. The thread ends with the block instead.
Read next: `database.py`, which is what crosses.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, Generic, TypeVar, TypeVarTuple

import trio

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# Rolling back and giving a connection back takes milliseconds; SQLAlchemy gives a dead server 2 s before it hangs up.
CLEANUP_SECONDS = 5.0
INTERRUPT_SECONDS = 0.05


class BridgeClosed(Exception):
    """The asyncio side is gone, or going, and did not do what it was asked."""


class _Call(Generic[T]):
    """One crossing. `task` is set once asyncio has begun it, and `done` once it has ended or never will."""

    __slots__ = ("done", "is_cancelled", "task")

    def __init__(self) -> None:
        self.done = trio.Event()
        self.is_cancelled = False
        self.task: asyncio.Task[T] | None = None

    @property
    def was_carried_out(self) -> bool:
        """It ended by itself, well or not."""
        return self.task is not None and self.task.done() and not self.task.cancelled()

    def result(self) -> T:
        if self.task is None or not self.was_carried_out:
            raise BridgeClosed("the database's event loop was closed")
        return self.task.result()


class Bridge:
    """Runs coroutine functions on the asyncio side. Made by `open_bridge`, used in trio's thread."""

    def __init__(self, token: trio.lowlevel.TrioToken) -> None:
        self.opened = trio.Event()
        self.ended = trio.Event()
        self._token = token
        self._waiting: set[trio.Event] = set()
        self._running: set[_Call[Any]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing: asyncio.Event | None = None

    async def run(self, function: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        """What `await function(*args)` returns or raises on the asyncio side."""
        call: _Call[T] = _Call()
        self._waiting.add(call.done)
        try:
            self._send(self._begin, call, function, args)
            try:
                await call.done.wait()
            except trio.Cancelled:
                await self._take_back(call)
                if not call.was_carried_out:
                    raise
            return call.result()
        finally:
            self._waiting.discard(call.done)

    async def close(self) -> None:
        """Cancel what runs and end the loop's thread. Returns late rather than never: the thread is a daemon."""
        if self._closing is not None:
            with suppress(BridgeClosed):
                self._send(self._closing.set)
        with trio.move_on_after(2 * CLEANUP_SECONDS, shield=True):
            await self.ended.wait()

    def live(self) -> None:
        """The life of the loop's thread."""
        try:
            asyncio.run(self._wait_for_close())
        finally:
            self._tell(self._release_all)

    async def _take_back(self, call: _Call[T]) -> None:
        with trio.move_on_after(CLEANUP_SECONDS, shield=True):
            with suppress(BridgeClosed):
                self._send(self._cancel, call)
                await call.done.wait()

    def _send(self, function: Callable[[*Ts], object], *args: *Ts) -> None:
        """Have asyncio call it soon, in the order of sending."""
        if self._loop is None or self.ended.is_set():
            raise BridgeClosed("the database's event loop is closed")
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError as exc:  # it is closed, and the message of that is still on its way to us
            raise BridgeClosed("the database's event loop is closed") from exc

    def _release_all(self) -> None:
        """Calls that came too late to be begun must not wait for ever."""
        self.ended.set()
        self.opened.set()
        for done in self._waiting:
            done.set()

    # From here on: in the loop's thread.

    async def _wait_for_close(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._closing = asyncio.Event()
        self._tell(self.opened.set)
        await self._closing.wait()
        for call in self._running:
            self._cancel(call)
        if tasks := [call.task for call in self._running if call.task is not None]:
            await asyncio.wait(tasks, timeout=CLEANUP_SECONDS)

    def _begin(self, call: _Call[T], function: Callable[[*Ts], Awaitable[T]], args: tuple[*Ts]) -> None:
        if self._closing is None or self._closing.is_set():
            self._tell(call.done.set)
            return

        async def carry_out() -> T:
            return await function(*args)

        call.task = asyncio.get_running_loop().create_task(carry_out())
        call.task.add_done_callback(partial(self._report, call))
        self._running.add(call)

    def _cancel(self, call: _Call[Any]) -> None:
        """Once: a second time would cut the cleaning up short."""
        if call.task is not None and not call.is_cancelled:
            call.is_cancelled = True
            call.task.cancel()

    def _report(self, call: _Call[T], task: asyncio.Task[T]) -> None:
        self._running.discard(call)
        if not task.cancelled():
            task.exception()  # looked at: an error that nobody waits for any more is no news on stderr
        self._tell(call.done.set)

    def _tell(self, function: Callable[[], object]) -> None:
        with suppress(trio.RunFinishedError):  # the run was torn down around us: nobody is left to be told
            self._token.run_sync_soon(function)


@asynccontextmanager
async def open_bridge() -> AsyncIterator[Bridge]:
    """A bridge, and its thread, for the block."""
    bridge = Bridge(trio.lowlevel.current_trio_token())
    thread = threading.Thread(target=bridge.live, name="asyncio bridge", daemon=True)
    thread.start()
    try:
        with trio.move_on_after(CLEANUP_SECONDS, shield=True):  # a loop that has not begun cannot be told to end
            await bridge.opened.wait()
        yield bridge
    finally:
        await bridge.close()
        if bridge.ended.is_set():
            thread.join()  # it has nothing left to do but to return


async def interruptible(work: Coroutine[object, object, T], interrupt: Callable[[], Awaitable[None]]) -> T:
    """On the asyncio side: await `work`; when that is cancelled, call `interrupt` until it has ended.

    For work in a thread, which cancelling would only stop waiting for.
    """
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.cancel()
        while not task.done():
            await interrupt()  # more than once: what had been sent to the thread but not begun was not interrupted
            await asyncio.wait({task}, timeout=INTERRUPT_SECONDS)
        if task.cancelled() or task.exception() is not None:
            raise
        return task.result()
