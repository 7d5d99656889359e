"""What one worker took is known to the other a round later, over real sockets; one that hangs holds up nobody."""

import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
import trio

from mrproxy.control import sharing
from mrproxy.control.sharing import Sharing
from mrproxy.ledger.sharing import SharedLedger
from mrproxy.link.catalogue import catalogue_from
from mrproxy.link.shares import Parcel
from mrproxy.link.snapshot import KeySpec, Limits, Snapshot


@dataclass(frozen=True)
class ACaller:
    key_id: str = "k1"

    @property
    def digest(self) -> bytes:
        return self.key_id.encode()


class FakeWorker:
    """Only its socket, and the ledger behind it. `is_deaf`: it reads and does not answer."""

    def __init__(self, run_directory: Path, name: str, epoch: int) -> None:
        self.path = run_directory / f"worker-{name}.sock"
        self.ledger = SharedLedger(epoch)
        key = KeySpec("k1", "k1", b"k1".hex(), limits=Limits(concurrent_requests=1, token_budget=100))
        self.ledger.load(catalogue_from(Snapshot(generation=1, created_utc=0.0, keys=(key,))))
        self.is_deaf = False
        self.rounds = 0

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        listener = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        await listener.bind(str(self.path))
        listener.listen()
        await trio.serve_listeners(self._answer, [trio.SocketListener(listener)], task_status=task_status)

    async def _answer(self, stream: trio.SocketStream) -> None:
        data = b""
        async with stream:
            while True:
                while b"\r\n\r\n" not in data or not self._is_whole(data):
                    piece = await stream.receive_some()
                    if not piece:
                        return
                    data += piece
                assert data.startswith(b"POST /shares HTTP/1.1\r\n")
                if self.is_deaf:
                    await trio.sleep_forever()
                parcel = msgspec.json.decode(data.partition(b"\r\n\r\n")[2], type=Parcel)
                body = msgspec.json.encode(self.ledger.exchange(parcel, 0.0))
                await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
                self.rounds += 1
                data = b""

    def is_left(self, tokens: int) -> bool:
        """Of the key's budget, as this one knows it: at first it knows nothing."""
        return any(account.budget_remaining == tokens for account in self.ledger.statistics(0.0))

    def _is_whole(self, data: bytes) -> bool:
        head, _, body = data.lower().partition(b"\r\n\r\n")
        return len(body) == int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])


async def wait_until(is_true: Callable[[], object]) -> None:
    with trio.fail_after(10):
        while not is_true():
            await trio.sleep(0.001)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("ROUND_SECONDS", 0.005), ("ANSWER_DEADLINE_SECONDS", 0.5), ("GONE_SECONDS", 1.0)):
        monkeypatch.setattr(sharing, name, seconds)


async def test_what_one_takes_the_other_knows_and_a_deaf_one_is_left_behind(tmp_path: Path, quick: None) -> None:
    one, two, three = (FakeWorker(tmp_path, f"w{number}", number) for number in (1, 2, 3))
    async with trio.open_nursery() as nursery:
        for worker in (one, two):
            await nursery.start(worker.serve)
        nursery.start_soon(Sharing(tmp_path).run)
        await nursery.start(three.serve)  # found although it came later
        await wait_until(lambda: min(each.rounds for each in (one, two, three)) > 3)

        entry = one.ledger.open_entry(ACaller(), 10, 0.0)
        await wait_until(lambda: three.is_left(90))
        one.is_deaf = True
        entry.settle(30, 0)  # nobody hears of it
        await wait_until(lambda: two.is_left(100))
        two.ledger.open_entry(ACaller(), 1, 0.0).settle(5, 0)
        await wait_until(lambda: three.is_left(95))
        nursery.cancel_scope.cancel()
