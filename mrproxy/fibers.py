"""Shell. Fibers: coroutines that the poller resumes itself, without trio's scheduler between an event and its code.

A connection's whole life is one `async def` with its `with` blocks. Most of its waits are for sockets that our own
poller watches; there, being a trio task costs two trips through trio's run loop per request (15 µs of 60, measured)
and buys nothing. So a connection runs as a *fiber*: `Waker.wait` parks it, and whoever wakes it runs it on, inside the
poller's task, up to its next wait. Where it needs trio (to connect, to queue, to open a scope) it first awaits
`Fiber.become_task()`: from there to its next park it is hosted by a real task in the nursery, with a scope of its own.
Rules: 1. no park inside a trio scope; 2. no trio call that may block, and no scope, before `become_task`;
3. leaving: `Fiber.leave` raises Departed where a parked fiber waits, or cancels the scope of a hosted one.
"""

import types
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from contextlib import asynccontextmanager
from typing import Any, Final, Generic, TypeVar

import trio

T = TypeVar("T")

_PARK: Final = object()
_NEED_TASK: Final = object()


class Departed(Exception):
    """Whoever the fiber served is gone, or is sent away: there is nobody to answer."""


@types.coroutine
def _park() -> Generator[object, Any, Any]:
    return (yield _PARK)


@types.coroutine
def _need_task() -> Generator[object, None, None]:
    yield _NEED_TASK


@asynccontextmanager
async def cancelled_alone() -> AsyncIterator[None]:
    """Around a nursery in a fiber's way: cancelled from outside, it raises the Cancelled of its tasks as a group, and
    whoever has to note a departure waits for one alone."""
    try:
        yield
    except BaseExceptionGroup as group:
        if group.split(trio.Cancelled)[1] is None:
            await trio.lowlevel.checkpoint()  # raises it
        raise


class Fiber:
    """One coroutine. `ended(error)` is called once, with None, Departed, or a bug (the border is there)."""

    __slots__ = ("_coroutine", "_ended", "_is_leaving", "_is_over", "_nursery", "_scope")

    def __init__(self, nursery: trio.Nursery, ended: Callable[[Exception | None], None]) -> None:
        self._nursery = nursery
        self._ended = ended
        self._coroutine: Coroutine[object, Any, None] | None = None
        self._scope: trio.CancelScope | None = None
        self._is_leaving = False
        self._is_over = False

    def start(self, coroutine: Coroutine[object, Any, None]) -> None:
        """Run it to its first wait."""
        self._coroutine = coroutine
        self.resume(None)

    def resume(self, value: object) -> None:
        """Run a parked fiber on. Only its waker calls this."""
        assert self._coroutine is not None
        try:
            trap = self._coroutine.send(value)
        except StopIteration:
            self._end(None)
        except Exception as error:  # Departed, or a bug: the border of a connection is `ended`
            self._end(error)
        else:
            if trap is not _PARK:
                self._leave_poller(trap)

    def leave(self) -> None:
        """End it from outside: it sees Departed, or Cancelled while a task hosts it. Repeating does nothing."""
        if self._is_leaving or self._is_over:
            return
        self._is_leaving = True
        if self._scope is not None:
            self._scope.cancel(reason="departed")
        else:
            self._throw()

    async def become_task(self) -> None:
        """Be hosted by a trio task up to the next park. Free if it is already."""
        if self._scope is None:
            await _need_task()

    @property
    def is_task(self) -> bool:
        return self._scope is not None

    def _throw(self) -> None:
        assert self._coroutine is not None
        try:
            trap = self._coroutine.throw(Departed())
        except StopIteration:
            self._end(None)
        except Exception as error:
            self._end(error)
        else:
            if trap is not _PARK:
                self._leave_poller(trap)

    def _leave_poller(self, trap: object) -> None:
        if trap is not _NEED_TASK:
            raise RuntimeError("a fiber called trio without become_task()")
        # The scope exists from now on: a departure before the task's first step must not be lost.
        self._scope = trio.CancelScope()
        self._nursery.start_soon(self._host, self._scope, name="hosted fiber")

    async def _host(self, scope: trio.CancelScope) -> None:
        """The task of a hosted fiber: ends when the fiber parks, which leaves it to the poller again."""
        error: Exception | None = None
        is_over = True
        try:
            with scope:
                is_over = await self._drive()
        except Exception as exc:
            error = exc
        finally:  # a Cancelled from above passes through here, and is an end too
            self._scope = None
            if is_over:
                self._end(error)
        if not is_over and self._is_leaving:
            self._throw()

    @types.coroutine
    def _drive(self) -> Generator[object, Any, bool]:
        """Run on and pass trio's traps through; false when it parked."""
        coroutine = self._coroutine
        assert coroutine is not None
        step: Callable[[], object] = lambda: coroutine.send(None)  # noqa: E731
        while True:
            try:
                trap = step()
            except StopIteration:
                return True
            if trap is _PARK:
                return False
            if trap is _NEED_TASK:
                continue
            try:
                value = yield trap
            except BaseException as exc:  # handed on to the coroutine, which re-raises what it must
                step = _thrower(coroutine, exc)
            else:
                step = _sender(coroutine, value)

    def _end(self, error: Exception | None) -> None:
        if not self._is_over:
            self._is_over = True
            self._ended(error)


def _sender(coroutine: Coroutine[object, Any, None], value: object) -> Callable[[], object]:
    return lambda: coroutine.send(value)


def _thrower(coroutine: Coroutine[object, Any, None], error: BaseException) -> Callable[[], object]:
    return lambda: coroutine.throw(error)


class Waker(Generic[T]):
    """One fiber waits, somebody wakes it with a value, and it runs on at once, inside that call.

    A value that arrives while nobody waits is kept for the next `wait`; a second one replaces it.
    """

    __slots__ = ("_fiber", "_value", "is_waited_for")

    def __init__(self, fiber: Fiber) -> None:
        self._fiber = fiber
        self._value: T | None = None
        self.is_waited_for = False

    async def wait(self) -> T:
        value = self._value
        if value is not None:
            self._value = None
            return value
        self.is_waited_for = True
        try:
            result: T = await _park()
        finally:
            self.is_waited_for = False
        return result

    def wake(self, value: T) -> None:
        if self.is_waited_for:
            self.is_waited_for = False
            self._fiber.resume(value)
        else:
            self._value = value
