"""Shell. One relay process: its stages, built once, its task tree, its drain, and the snapshots that it takes over.

It ends in three steps: nobody new is accepted; at the drain's deadline streams end with an error in their own dialect;
what is left then is cut. Read next: `app.py` (the tree), `assembly.py` (the stages), docs/drain.md.
"""

import os
import signal
import socket
from functools import partial

import trio

from mrproxy.accept.door import Door
from mrproxy.assembly import assemble, open_command_socket, open_ledger, tls_context
from mrproxy.clock import utc_now
from mrproxy.commands import Commands
from mrproxy.config import Settings
from mrproxy.counters import Counters
from mrproxy.crashes import Crashes
from mrproxy.errors import Code
from mrproxy.express import ExpressWay
from mrproxy.following import Follower, Rounds, free
from mrproxy.lifecycle import serve_connection
from mrproxy.link.capture import CaptureWriter
from mrproxy.link.catalogue import Catalogue
from mrproxy.link.snapshot import Snapshot, SnapshotError
from mrproxy.provision import open_data_directory
from mrproxy.telemetry.log import Log
from mrproxy.upkeep import forget_responses, mind_the_disk, settle_garbage, watch_lag
from mrproxy.upstream.retry_budget import RetryBudget

# After the drain deadline: time for in-stream errors to be sent and entries to be settled.
_GOODBYE_SECONDS = 2.0
# And for engines to say how long the prompts of what was cut off are; what is asked then is settled by an estimate.
_LAST_QUESTIONS_SECONDS = 2.0
# Four looks cost 20 µs a second.
_LOOK_SECONDS = 0.25


class Worker:
    """Serves from the snapshots that `follower` finds, `catalogue` first."""

    def __init__(
        self,
        name: str,
        follower: Follower,
        catalogue: Catalogue,
        listener: socket.socket,
        log: Log,
        *,
        is_shared: bool = False,
    ) -> None:
        settings = catalogue.head.settings
        self._name = name
        self._follower = follower
        self._looks = Rounds()  # at the file, and
        self._replacements = Rounds()  # of the backends
        self._catalogue = catalogue
        self._listener = listener
        # Accepted sockets inherit it. The kernel doubles what it is given, and would let a slow reader have 4 MiB.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, settings.client_send_buffer_bytes // 2)
        self._log = log
        self._drain = trio.Event()
        self._directory = open_data_directory(str(follower.path.parent))
        ledger, self._calendar = open_ledger(self._directory, is_shared=is_shared)
        counters = Counters()
        crashes = Crashes(counters, log)
        self._stages = stages = assemble(name, self._directory, settings, ledger, crashes)
        self._captures = CaptureWriter(self._directory.journal, name, settings.journal_segment_bytes)
        self._capture_as_set()
        serve, express = partial(serve_connection, stages=stages), ExpressWay(stages).take
        self._door = Door(settings, counters, stages.poller, serve, crashes.report, express)
        self._commands = Commands(stages, self._door, lambda: self._catalogue.head.generation, self._reload)
        obey = self._commands.serve_connection
        self._commands_door = Door(settings, Counters(), stages.poller, obey, crashes.report)

    async def run(self) -> None:
        """Serve until SIGTERM, drain, and return."""
        stages, head = self._stages, self._catalogue.head
        stages.retry_budget = RetryBudget(head.settings.retry_budget_percent, trio.current_time())
        stages.identity.load(self._catalogue)
        stages.ledger.load(self._catalogue)
        async with stages.images, trio.open_nursery() as nursery:
            await nursery.start(self._obey_signals, name="signals")
            await nursery.start(stages.poller.run, name="poller")
            await nursery.start(stages.control.run, name="control uplink")
            await nursery.start(stages.registry.run, head.backends, head.settings, name="registry")
            nursery.start_soon(self._follow, name="snapshot")
            nursery.start_soon(self._follow_backends, name="backends")
            nursery.start_soon(watch_lag, stages.counters, name="loop lag")
            nursery.start_soon(forget_responses, stages.responses, name="stored responses")
            nursery.start_soon(mind_the_disk, stages.journal, self._captures, self._log, name="disk")
            with open_command_socket(self._directory.worker_socket(self._name)) as commands:
                door = partial(self._commands_door.run, [commands], trio.Event(), None)
                await nursery.start(door, name="commands")
                settle_garbage()
                self._log.info("worker serves", backends=len(head.backends), keys=self._catalogue.key_count)
                await self._serve_until_drained()
                with trio.move_on_after(_LAST_QUESTIONS_SECONDS):
                    await stages.registry.wait_settled()
                nursery.cancel_scope.cancel(reason="drained")
        self._close_files()
        self._log.info("worker ended", requests=sum(stages.counters.requests.values()))

    def _close_files(self) -> None:
        self._stages.flush()
        self._stages.journal.close()
        self._captures.close()
        if self._stages.archive is not None:
            self._stages.archive.spool.close()

    async def _serve_until_drained(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._end_drain, nursery.cancel_scope, name="drain deadline")
            await self._door.run([self._listener], self._drain, tls_context(self._stages.settings))
            nursery.cancel_scope.cancel(reason="drained")

    async def _end_drain(self, everything: trio.CancelScope) -> None:
        """At the deadline streams end with an error in their own dialect; what is left then is cut."""
        await self._drain.wait()
        self._log.info("draining", connections=len(self._door.clients))
        await trio.sleep(self._stages.settings.drain_seconds)
        backends = self._stages.registry.backends.values()
        for backend in backends:
            backend.is_draining = True  # a slot that is freed now goes to nobody
        self._stages.scheduler.refuse_waiting()
        self._stages.registry.withdraw_all("the gateway is shutting down", Code.DRAINING)
        await trio.sleep(_GOODBYE_SECONDS)
        everything.cancel(reason="the drain deadline has passed")

    async def _obey_signals(self, *, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as received:
            task_status.started()
            async for number in received:
                if number == signal.SIGHUP:
                    self._looks.ask()
                elif self._drain.is_set():
                    os._exit(1)  # the second time: whoever asks twice does not want to wait
                else:
                    self._drain.set()

    async def _follow(self) -> None:
        """A key that was revoked must not be good for a second more; and a month begins when it begins."""
        while True:
            to_month_end = self._calendar.ends_utc - utc_now()
            with trio.move_on_after(min(_LOOK_SECONDS, max(0.0, to_month_end))):
                await self._looks.wait_asked()
            if self._calendar.turn(utc_now()):
                self._stages.ledger.begin_month()
            with self._looks.open_round():
                await self._look()

    async def _reload(self) -> str:
        """Take over the snapshot on disk, all of it or nothing; the reason why not, or an empty text.

        The two tasks below do it: who asked may leave, and it goes on.
        """
        await self._looks.wait_round()
        if not self._follower.problem:
            await self._replacements.wait_round()
        return self._follower.problem

    async def _look(self) -> None:
        try:
            catalogue = await self._follower.look()
        except SnapshotError as exc:
            self._log.error("reload refused", reason=str(exc))
            return
        if catalogue is not None:
            former, self._catalogue = self._catalogue, catalogue
            self._take_over(former.head)
            await free(former)

    def _take_over(self, former: Snapshot) -> None:
        """At once, but for backends that are new: they are asked first what they have."""
        stages, head = self._stages, self._catalogue.head
        stages.identity.load(self._catalogue)
        stages.ledger.load(self._catalogue)
        if head.settings != former.settings:
            self._apply(head.settings)
        self._capture_as_set()
        if (head.backends, head.settings) != (former.backends, former.settings):
            self._replacements.ask()
        self._log.info("reloaded", generation=head.generation, keys=self._catalogue.key_count)

    def _apply(self, settings: Settings) -> None:
        stages = self._stages
        self._log = self._log.at_level(settings.log_level)
        stages.settings = settings
        stages.scheduler.settings = settings
        stages.control.pump.pace = settings
        self._door.apply(settings)

    async def _follow_backends(self) -> None:
        """Beside the snapshot's own task: keys that were revoked do not wait for an engine that does not answer."""
        while True:
            await self._replacements.wait_asked()
            with self._replacements.open_round():
                head = self._catalogue.head
                await self._stages.registry.apply(head.backends, head.settings)

    def _capture_as_set(self) -> None:
        groups = self._catalogue.groups.values()
        is_wanted = self._catalogue.head.settings.capture_bodies or any(group.captures_bodies for group in groups)
        self._stages.captures = self._captures if is_wanted else None
