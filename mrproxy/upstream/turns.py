"""Shell. Turns: many tasks begin something one after the other, a moment apart, instead of all at once.

Nobody holds a turn: what is begun and does not end keeps nobody else from beginning.
"""

import trio


class Turns:
    """At least `spacing_seconds` between two; who comes when nobody came lately does not wait."""

    def __init__(self, spacing_seconds: float) -> None:
        self._spacing_seconds = spacing_seconds
        self._next_at = 0.0

    async def wait(self) -> None:
        now = trio.current_time()
        at = max(now, self._next_at)
        self._next_at = at + self._spacing_seconds
        if at > now:
            await trio.sleep_until(at)
