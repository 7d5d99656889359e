"""Shell. Puts what the database manages into force: compiles it, merges it into the snapshot, tells the workers.

1. Whoever has changed something asks (`publish`), and is let go when workers have it. Changes within PAUSE_SECONDS are
   compiled together.
2. The counter of changes (`storage/facts.py`) is looked at every LOOK_SECONDS as well: another gateway on the same
   database changes things, too, and so does whoever restores a backup.
3. A database that is away changes nothing: the last `managed.json` stays in force. It is said once, and tried again.
4. After each look the audit log's head goes into its file. A log that does not go on from there is said, loudly, and
   the file is left alone, for `mrproxy audit verify` to show what is wrong.

Read next: `storage/managed.py`, what is compiled; `link/publishing.py`, how it comes into force.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import trio

from mrproxy.clock import Clock
from mrproxy.link.publishing import MANAGED_NAME, publish
from mrproxy.link.snapshot import Managed, SnapshotError, write_managed
from mrproxy.storage.audit import HeadLost, follow_head, load_head, save_head
from mrproxy.storage.database import Database
from mrproxy.storage.facts import count_changes
from mrproxy.storage.managed import Slots, compile_managed
from mrproxy.storage.outage import ANSWER_SECONDS, FAILURES, Outage, StorageLog
from mrproxy.storage.secrets import SecretBox

PAUSE_SECONDS = 0.05
LOOK_SECONDS = 10.0
LONGEST_RETRY_SECONDS = 5.0
PATIENCE_SECONDS = 1.0
TROUBLE = (*FAILURES, SnapshotError)

Tell = Callable[[str, str], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class PublisherStatistics:
    """`problem` is one word, or empty. `generation` is the snapshot's, `changes` the counter that it stands for."""

    problem: str
    generation: int
    changes: int
    published_utc: float
    unreadable_backends: tuple[str, ...]
    is_audit_log_whole: bool


class Publisher:
    """Of one data directory and one database. `prepare` runs first, and after each failure: tables must exist."""

    def __init__(
        self,
        data_dir: Path,
        database: Database,
        box: SecretBox,
        slots: Callable[[], Slots],
        tell: Tell,
        clock: Clock,
        log: StorageLog,
        prepare: Callable[[], Awaitable[object]],
    ) -> None:
        self._data_dir = data_dir
        self._database = database
        self._box = box
        self._slots = slots
        self._tell = tell
        self._clock = clock
        self._log = log
        self._prepare = prepare
        self._outage = Outage(log, "changes are not published", "changes are published again")
        self._must_prepare = True
        self._requested = 1  # what is there at the start
        self._published = 0
        self._wanted = trio.Event()
        self._done = trio.Event()
        self.tried = trio.Event()  # the first look is over: tables are there, or the database is away
        self._in_force: tuple[int, Slots] | None = None
        self._generation = 0
        self._published_utc = 0.0
        self._unreadable: tuple[str, ...] = ()
        self._lost_head = ""

    def request(self) -> int:
        """Something was changed; the number to wait for."""
        self._requested += 1
        self._wanted.set()
        return self._requested

    async def published(self, number: int) -> bool:
        """Wait until the workers have what was requested; False when that takes longer than PATIENCE_SECONDS."""
        with trio.move_on_after(PATIENCE_SECONDS):
            while self._published < number:
                await self._done.wait()
        return self._published >= number

    async def publish(self) -> None:
        """After a change: return when it is in force, or when nobody should wait any longer."""
        await self.published(self.request())

    def statistics(self) -> PublisherStatistics:
        return PublisherStatistics(
            self._outage.problem,
            self._generation,
            self._in_force[0] if self._in_force is not None else 0,
            self._published_utc,
            self._unreadable,
            not self._lost_head,
        )

    async def run(self) -> None:
        """For ever. What fails is tried again."""
        while True:
            began_at = trio.current_time()
            try:
                with trio.fail_after(ANSWER_SECONDS):
                    await self.catch_up()
            except TROUBLE as exc:
                self._must_prepare = True  # somebody may have put another file or server in its place
                self._outage.fail(exc)
                self.tried.set()
                await trio.sleep(min(self._outage.delay_seconds, LONGEST_RETRY_SECONDS))
            else:
                self._outage.succeed()
                self.tried.set()
                with trio.move_on_after(LOOK_SECONDS):
                    await self._wanted.wait()
                await trio.sleep_until(began_at + PAUSE_SECONDS)

    async def catch_up(self) -> None:
        """Look, and publish if there is anything new. Raises one of TROUBLE, and then all is as it was."""
        if self._must_prepare:
            await self._prepare()
            self._must_prepare = False
        number, self._wanted = self._requested, trio.Event()
        slots = self._slots()
        changes = await self._database.read(count_changes)
        if self._in_force != (changes, slots):
            compiled = await self._database.read(compile_managed, self._box, slots, self._clock())
            self._generation = await trio.to_thread.run_sync(self._put_into_force, compiled.managed)
            self._in_force, self._published_utc = (compiled.managed.generation, slots), self._clock()
            self._name_unreadable(compiled.unreadable)
            await self._tell("POST", "/reload")
        self._published = number
        self._done.set()
        self._done = trio.Event()
        await self._follow_audit_log()

    def _put_into_force(self, managed: Managed) -> int:
        """In a thread: with many keys it takes a second. Raises OSError, SnapshotError."""
        write_managed(self._data_dir / MANAGED_NAME, managed)
        return publish(self._data_dir, self._clock())

    def _name_unreadable(self, names: tuple[str, ...]) -> None:
        if names and names != self._unreadable:
            self._log.error("the API keys of backends cannot be decrypted: set them again", backends=", ".join(names))
        self._unreadable = names

    async def _follow_audit_log(self) -> None:
        try:
            known = load_head(self._data_dir)
            newest = await self._database.read(follow_head, known)
        except HeadLost as exc:
            if not self._lost_head:
                self._log.error("the audit log is not what it was: see `mrproxy audit verify`", reason=str(exc))
            self._lost_head = str(exc)
            return
        self._lost_head = ""
        if newest is not None and newest != known:
            save_head(self._data_dir, newest)
