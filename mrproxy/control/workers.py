"""Shell. Asks every worker for its counters, over its Unix socket, and never waits long for one.

Workers are found by their sockets (`run/worker-*.sock`), so there may be any number of them and nobody registers.
However many clients ask at once, the workers are asked once: looking at a gateway must not load its relay plane.
Read next: `reports.py`, for what they answer.
"""

import ssl
from pathlib import Path

import httpx
import msgspec
import trio

from mrproxy.control.reports import Silent, WorkerReport, decode_report

ANSWER_DEADLINE_SECONDS = 0.8  # a reader waits less than 1 s in all, whatever a worker does
FRESH_SECONDS = 0.2  # a dashboard that polls five times a second still sees movement


class Workers:
    """The workers of one data directory. Holds no connection and no task between two questions."""

    def __init__(self, run_directory: Path) -> None:
        self._run_directory = run_directory
        # httpx builds a TLS context per transport (5 ms, measured) even for plain HTTP; one empty one serves all.
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._answers: tuple[WorkerReport | Silent, ...] = ()
        self._fresh_until = float("-inf")
        self._asking: trio.Event | None = None

    async def ask(self) -> tuple[WorkerReport | Silent, ...]:
        """The answers of all workers, at most FRESH_SECONDS old, in the order of their names."""
        while trio.current_time() >= self._fresh_until:
            if self._asking is not None:
                await self._asking.wait()  # somebody else asks; if that is cancelled, the loop asks again
                continue
            self._asking = trio.Event()
            try:
                self._answers = await self._ask_all()
                self._fresh_until = trio.current_time() + FRESH_SECONDS
            finally:
                self._asking.set()
                self._asking = None
        return self._answers

    async def _ask_all(self) -> tuple[WorkerReport | Silent, ...]:
        paths = sorted(self._run_directory.glob("worker-*.sock"))
        answers: dict[Path, WorkerReport | Silent] = {}

        async def ask_into(path: Path) -> None:
            answers[path] = await self._ask_one(path)

        async with trio.open_nursery() as nursery:
            for path in paths:
                nursery.start_soon(ask_into, path, name=f"ask {path.stem}")
        return tuple(answers[path] for path in paths)

    async def tell(self, method: str, target: str) -> dict[str, bytes | Silent]:
        """Send each worker one command (mrproxy/commands.py); its answer's body, or why there is none."""
        answers: dict[str, bytes | Silent] = {}

        async def tell_one(path: Path) -> None:
            name = path.stem.removeprefix("worker-")
            answers[name] = await self._unless_silent(name, path, method, target)

        async with trio.open_nursery() as nursery:
            for path in sorted(self._run_directory.glob("worker-*.sock")):
                nursery.start_soon(tell_one, path, name=f"tell {path.stem}")
        self._fresh_until = float("-inf")  # what was just changed is to be seen
        return dict(sorted(answers.items()))

    async def _ask_one(self, path: Path) -> WorkerReport | Silent:
        name = path.stem.removeprefix("worker-")
        body = await self._unless_silent(name, path, "GET", "/counters")
        if isinstance(body, Silent):
            return body
        try:
            return decode_report(body)
        except msgspec.DecodeError as exc:
            return Silent(name, f"not understood ({exc})")

    async def _unless_silent(self, name: str, path: Path, method: str, target: str) -> bytes | Silent:
        try:
            with trio.fail_after(ANSWER_DEADLINE_SECONDS):
                return await self._fetch(path, method, target)
        except trio.TooSlowError:
            return Silent(name, f"no answer within {ANSWER_DEADLINE_SECONDS} s")
        except httpx.HTTPStatusError as exc:
            return Silent(name, f"answered with status {exc.response.status_code}")
        except httpx.ConnectError as exc:
            return Silent(name, f"nobody listens on its socket ({exc})", gone=True)
        except httpx.HTTPError as exc:
            return Silent(name, f"hung up ({type(exc).__name__})")

    async def _fetch(self, path: Path, method: str, target: str) -> bytes:
        transport = httpx.AsyncHTTPTransport(uds=str(path), verify=self._tls)
        # No timeout of httpx's own: the caller's scope is the deadline, over all phases together.
        async with httpx.AsyncClient(transport=transport, base_url="http://worker", timeout=None) as client:
            response = await client.request(method, target)
            response.raise_for_status()
            return response.content
