"""Shell. Carries between several workers what each has taken of the accounts, four times a second.

Each worker has a task of its own, so that one that hangs keeps nobody else from hearing. A round that is lost is made
good by the next; what this process knows it may forget (`mrproxy/link/shares.py`). With one worker nothing of it runs.
"""

import ssl
from contextlib import suppress
from pathlib import Path

import httpx
import msgspec
import trio

from mrproxy.link.shares import Mailbox, Report

ROUND_SECONDS = 0.25
ANSWER_DEADLINE_SECONDS = 0.8
# What a worker holds is taken for free when it has been silent for so long: the supervisor restarts it within 0.1 s,
# and one that only hangs serves nobody meanwhile.
GONE_SECONDS = 5.0
_FAILURES = (httpx.HTTPError, msgspec.MsgspecError, trio.TooSlowError, OSError)


class Sharing:
    """The workers of one data directory, found by their sockets."""

    def __init__(self, run_directory: Path) -> None:
        self._run_directory = run_directory
        self._mailbox = Mailbox()
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    async def run(self) -> None:
        """For ever."""
        known: set[Path] = set()
        async with trio.open_nursery() as nursery:
            while True:
                with suppress(OSError):  # no descriptor is left: another time
                    for path in set(self._run_directory.glob("worker-*.sock")) - known:
                        known.add(path)
                        nursery.start_soon(self._keep_meeting, path, name=f"share {path.stem}")
                await trio.sleep(ROUND_SECONDS)

    async def _keep_meeting(self, path: Path) -> None:
        name = path.stem.removeprefix("worker-")
        heard_at = trio.current_time()
        transport = httpx.AsyncHTTPTransport(uds=str(path), verify=self._tls)
        async with httpx.AsyncClient(transport=transport, base_url="http://worker", timeout=None) as client:
            while True:
                try:
                    with trio.fail_after(ANSWER_DEADLINE_SECONDS):
                        await self._meet(name, client)
                    heard_at = trio.current_time()
                except _FAILURES:
                    if trio.current_time() > heard_at + GONE_SECONDS:
                        self._mailbox.gone(name)
                await trio.sleep(ROUND_SECONDS)

    async def _meet(self, name: str, client: httpx.AsyncClient) -> None:
        parcel = self._mailbox.parcel_for(name)
        response = await client.post("/shares", content=msgspec.json.encode(parcel))
        response.raise_for_status()
        self._mailbox.delivered(name, parcel, msgspec.json.decode(response.content, type=Report))
