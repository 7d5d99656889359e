"""Pure. How many long answers run at a time. Each keeps the database as busy as it can."""

from weakref import WeakSet

from mrproxy.control.api.problem import Problem

MOST_EXPORTS = 2
RETRY_AFTER_SECONDS = 10.0


class Exports:
    """Those that run, by what makes their pieces. Weakly: one whose answer was never begun is gone with it."""

    def __init__(self) -> None:
        self._running: WeakSet[object] = WeakSet()

    def begin(self, export: object) -> None:
        """Raises Problem."""
        if len(self._running) >= MOST_EXPORTS:
            raise Problem("too-many", f"{MOST_EXPORTS} exports run already.", retry_seconds=RETRY_AFTER_SECONDS)
        self._running.add(export)

    def end(self, export: object) -> None:
        """Idempotent."""
        self._running.discard(export)
