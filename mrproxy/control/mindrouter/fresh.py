"""Shell. A value that is asked for once in a while, however many want it: single flight, and kept for some seconds."""

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import trio

T = TypeVar("T")


class Fresh(Generic[T]):
    """Whoever comes while somebody asks waits for that answer. A failure is the asker's alone: the next one asks."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._found: tuple[T] | None = None
        self._until = float("-inf")
        self._asking: trio.Event | None = None

    async def get(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Raises what `ask` raises."""
        while self._found is None or trio.current_time() >= self._until:
            if self._asking is not None:
                await self._asking.wait()
                continue
            asking = self._asking = trio.Event()
            try:
                self._found = (await ask(),)
                self._until = trio.current_time() + self._seconds
            finally:
                asking.set()
                self._asking = None
        return self._found[0]
