"""Shell. Builds each process and owns its root nursery; only this module knows all parts.

    worker ─┬─ signals (SIGTERM drains, SIGHUP reloads)
            ├─ poller: every hot socket's events, and the fibers they resume (lifecycle.serve_connection)
            ├─ registry ─── a nursery per backend: sweep, probe, TLS bridges
            ├─ control uplink: sweep
            ├─ commands' door: the worker's Unix socket
            ├─ loop lag, disk, stored responses
            └─ front door: sweep, accept, hosted fibers, TLS bridges
    control ─┬─ signals
             ├─ takeover (workers' files → database): records, bodies, responses; retention
             ├─ publisher (database → snapshot)
             └─ serve_control (Hypercorn, journal reader)
Nothing else starts tasks, and nothing outlives these trees. Read next: `lifecycle.py`.
"""

import gc
import itertools
import os
import signal
import socket
import ssl
from collections.abc import Coroutine
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import trio

from mrproxy.accept.client import Client
from mrproxy.accept.door import Door
from mrproxy.archive import Archive
from mrproxy.clock import utc_now
from mrproxy.commands import Commands
from mrproxy.config import ConfigError, Settings, variable_of
from mrproxy.counters import Counters
from mrproxy.dialects.responses.store import ResponseStore
from mrproxy.errors import Code
from mrproxy.express import ExpressWay
from mrproxy.following import Follower, free
from mrproxy.forwarding import ControlUplink
from mrproxy.identity.callers import Identity
from mrproxy.images import open_images
from mrproxy.ledger.ledger import Ledger
from mrproxy.ledger.sharing import SharedLedger
from mrproxy.ledger.spent import read_spent
from mrproxy.ledger.sums import Calendar, month_in_force
from mrproxy.lifecycle import serve_connection
from mrproxy.link.capture import CaptureWriter
from mrproxy.link.catalogue import Catalogue
from mrproxy.link.journal import Writer
from mrproxy.link.snapshot import Snapshot, SnapshotError, read
from mrproxy.link.spool import SpoolWriter
from mrproxy.priority import ask_for_short_turns, give_way
from mrproxy.provision import DataDirectory, open_data_directory, read_secret
from mrproxy.scheduler.cost import CostModel
from mrproxy.scheduler.fifo import Fifo
from mrproxy.scheduler.grant import Discipline, Scheduler
from mrproxy.scheduler.placement import placement_policy
from mrproxy.scheduler.wdrr import Wdrr
from mrproxy.sockets import Poller, Source
from mrproxy.stages import Stages
from mrproxy.telemetry.log import Log, open_log
from mrproxy.upstream.bulk import Bulk
from mrproxy.upstream.pump import Relay
from mrproxy.upstream.registry import Registry
from mrproxy.upstream.rest import Rest
from mrproxy.upstream.retry_budget import RetryBudget
from mrproxy.upstream.shot import Shot

STDERR = 2
_LAG_SECONDS = 0.25
# After the drain deadline: time for in-stream errors to be sent and entries to be settled.
_GOODBYE_SECONDS = 2.0
# And for engines to say how long the prompts of what was cut off are; what is asked then is settled by an estimate.
_LAST_QUESTIONS_SECONDS = 2.0
_FORGET_SECONDS = 60.0
_DISK_SECONDS = 5.0
# Ten minutes.
_CAPTURE_SEGMENT_CHECKS = 120
# Four looks cost 20 µs a second.
_LOOK_SECONDS = 0.25
# What is not in the database by then is taken over at the next start.
_LAST_BATCHES_SECONDS = 1.0


def run_worker(snapshot_path: Path, *, name: str, listen_fd: int, is_shared: bool = False) -> None:
    """The relay plane: one process, one thread, one loop. Returns when it has drained. `is_shared`: one of several."""
    follower = Follower(snapshot_path)
    catalogue = follower.first()
    log = opened_log(f"worker {name}", catalogue.head.settings, snapshot_path.parent)
    listener = socket.socket(fileno=listen_fd)
    listener.setblocking(False)
    ask_for_short_turns()
    trio.run(Worker(name, follower, catalogue, listener, log, is_shared=is_shared).run)


def run_control(snapshot_path: Path, *, is_shared: bool = False) -> None:
    """The control plane's process. `is_shared`: there are several workers."""
    settings = read(snapshot_path).settings
    log = opened_log("control", settings, snapshot_path.parent)
    give_way(settings.control_nice)
    trio.run(_control, settings, snapshot_path.parent, log, is_shared)


def opened_log(component: str, settings: Settings, data_dir: Path) -> Log:
    """A child's log: on the standard error of all, and in a file of its own."""
    log = open_log(STDERR, utc_now, component).at_level(settings.log_level)
    return log.filed(data_dir / "logs", settings.log_keep_bytes)


async def _control(settings: Settings, data_dir: Path, log: Log, is_shared: bool) -> None:
    drain = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(_drain_on_signal, drain)
        if is_shared:
            nursery.start_soon(_share, data_dir, name="shares")
        if settings.otlp_endpoint:
            nursery.start_soon(_export_spans, settings, data_dir, log, name="spans")
        try:
            if settings.records:
                await _serve_with_database(settings, data_dir, drain, log)
            else:
                await _serve_without_database(settings, data_dir, drain, log)
        except ConfigError as exc:  # the supervisor has checked it; a control plane without pages helps nobody
            log.error("there is no database", reason=str(exc))
            await _serve_without_database(settings, data_dir, drain, log)
        nursery.cancel_scope.cancel(reason="served")


async def _share(data_dir: Path) -> None:
    from mrproxy.control.sharing import Sharing

    await Sharing(data_dir / "run").run()


async def _export_spans(settings: Settings, data_dir: Path, log: Log) -> None:
    """Without the extra that it needs, a gateway serves all the same."""
    from mrproxy.telemetry.export import BackendKinds, ExporterMissing, SpanExport, open_sender

    try:
        send = open_sender(settings.otlp_endpoint, version("mrproxy"))
    except ExporterMissing as exc:
        log.error("no spans are sent", reason=str(exc))
        return
    directory = open_data_directory(str(data_dir))
    kinds = BackendKinds(directory.snapshot)
    await SpanExport(directory.journal, send, kinds.now, settings.otlp_sample_percent, log).run()


async def _serve_without_database(settings: Settings, data_dir: Path, drain: trio.Event, log: Log) -> None:
    """What is configured, and how the workers do; nothing can be administered."""
    # Here and below, and not on top: a worker has no use for 40 MB of web framework and SQLAlchemy.
    from mrproxy.control.assembly import make_offer, nothing_to_publish
    from mrproxy.control.server import serve_control
    from mrproxy.control.signin.passwords import Passwords

    secret, shared = read_secret(open_data_directory(str(data_dir))), (utc_now, log, os.environ, Passwords())
    offer = make_offer(settings, data_dir, secret, None, nothing_to_publish, *shared)
    await serve_control(settings, data_dir, drain=drain, log=log, offer=offer)


async def _serve_with_database(settings: Settings, data_dir: Path, drain: trio.Event, log: Log) -> None:
    """Whether the database is there or not: who needs it waits for it. Raises ConfigError for a URL that is none."""
    from mrproxy.control.assembly import make_offer
    from mrproxy.control.managing import make_publisher
    from mrproxy.control.server import serve_control
    from mrproxy.control.signin.passwords import Passwords
    from mrproxy.storage.bridge import open_bridge
    from mrproxy.storage.database import open_database
    from mrproxy.storage.migrate import prepare
    from mrproxy.storage.takeover import Takeover
    from mrproxy.storage.urls import locate

    # Not from the snapshot: it may hold a password, and the supervisor gives it to this process alone.
    location = locate(os.environ.get(variable_of("database_url"), ""), data_dir)
    secret, passwords = read_secret(open_data_directory(str(data_dir))), Passwords()
    async with open_bridge() as bridge, open_database(location, bridge) as database:
        tables, shared = partial(prepare, database), (utc_now, log, os.environ, passwords)
        takeover = Takeover(settings, data_dir, database, tables, utc_now, log)
        publisher = make_publisher(settings, data_dir, secret, database, tables, *shared)
        offer = make_offer(settings, data_dir, secret, database, publisher.publish, *shared)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(takeover.run, name="takeover")
            nursery.start_soon(publisher.run, name="publisher")
            await serve_control(
                settings,
                data_dir,
                drain=drain,
                log=log,
                storage=takeover.ingestion.statistics,
                publisher=publisher.statistics,
                state=takeover.keeper.answer,
                offer=offer,
            )
            nursery.cancel_scope.cancel(reason="served")
        with trio.move_on_after(_LAST_BATCHES_SECONDS):  # the workers have ended before: then nothing is missing
            await takeover.take_to_end()


async def _drain_on_signal(drain: trio.Event, *, task_status: trio.TaskStatus[None]) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as received:
        task_status.started()
        async for number in received:
            if number != signal.SIGHUP:  # a reload: nothing here depends on it yet
                drain.set()


class Worker:
    """One relay process: its stages, built once, and its task tree."""

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
        self._taking_over = trio.Lock()  # the file is looked at by several: each new one is taken over once
        self._has_other_backends = trio.Event()
        self._catalogue = catalogue
        self._listener = listener
        # Accepted sockets inherit it. The kernel doubles what it is given, and would let a slow reader have 4 MiB.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, settings.client_send_buffer_bytes // 2)
        self._log = log
        self._drain = trio.Event()
        self._directory: DataDirectory = open_data_directory(str(follower.path.parent))
        ledger, self._calendar = _ledger(self._directory, is_shared=is_shared)
        counters = Counters()
        poller = Poller(self._source_crashed)
        registry = Registry(counters, poller, self._crashed)
        self._stages = stages = Stages(
            worker=name,
            settings=settings,
            clock=utc_now,
            counters=counters,
            poller=poller,
            identity=Identity(read_secret(self._directory), utc_now),
            ledger=ledger,
            costs=CostModel(),
            scheduler=Scheduler(_discipline(settings), placement_policy(settings.placement), registry, settings),
            registry=registry,
            retry_budget=RetryBudget(settings.retry_budget_percent, 0.0),
            journal=Writer(self._directory.journal, name, settings.journal_segment_bytes),
            control=ControlUplink(
                str(self._directory.control_socket),
                poller,
                settings,
                counters,
                is_tls=bool(settings.tls_cert),
                trusted_proxies=settings.trusted_proxies,
            ),
            images=open_images(settings),
            responses=ResponseStore(
                settings.response_max_count, settings.response_max_bytes, settings.response_keep_seconds
            ),
        )
        self._captures = CaptureWriter(self._directory.journal, name, settings.journal_segment_bytes)
        self._capture_as_set()
        if settings.records:
            spool = SpoolWriter(self._directory.journal, name, settings.journal_segment_bytes)
            stages.archive = Archive(
                str(self._directory.control_socket), spool, utc_now, settings.response_keep_seconds
            )
        registry.changed = stages.scheduler.capacity_changed
        poller.after_batch = stages.flush
        self._door = Door(settings, counters, poller, self._serve, self._crashed, ExpressWay(stages).take)
        self._commands = Commands(stages, self._door, lambda: self._catalogue.head.generation, self._reload)
        self._commands_door = Door(settings, Counters(), poller, self._commands.serve_connection, self._crashed)

    def _serve(self, client: Client) -> Coroutine[object, Any, None]:
        return serve_connection(client, self._stages)

    def _crashed(self, where: str, error: Exception) -> None:
        """The borders report here: a bug, or descriptors that ran out. Never a request's content."""
        self._stages.counters.crashes += 1
        place = error.__traceback__
        while place is not None and place.tb_next is not None:
            place = place.tb_next
        line = f"{Path(place.tb_frame.f_code.co_filename).name}:{place.tb_lineno}" if place is not None else ""
        self._log.error("unexpected error", where=where, kind=type(error).__name__, reason=str(error)[:300], line=line)

    def _source_crashed(self, source: Source, error: Exception) -> None:
        """A bug in the code of one socket's events: it ends that one."""
        self._crashed(type(source).__name__, error)
        if isinstance(source, Relay | Shot | Bulk | Rest):
            source.crash()
        elif isinstance(source, Client):
            source.leave()

    async def run(self) -> None:
        """Serve until SIGTERM, drain, and return."""
        stages, catalogue = self._stages, self._catalogue
        backends, settings = catalogue.head.backends, catalogue.head.settings
        stages.retry_budget = RetryBudget(settings.retry_budget_percent, trio.current_time())
        stages.identity.load(catalogue)
        stages.ledger.load(catalogue)
        async with stages.images, trio.open_nursery() as nursery:
            await nursery.start(self._obey_signals, name="signals")
            await nursery.start(stages.poller.run, name="poller")
            await nursery.start(stages.control.run, name="control uplink")
            await nursery.start(stages.registry.run, backends, settings, name="registry")
            nursery.start_soon(self._follow, name="snapshot")
            nursery.start_soon(self._follow_backends, name="backends")
            nursery.start_soon(self._watch_lag, name="loop lag")
            nursery.start_soon(self._forget_responses, name="stored responses")
            nursery.start_soon(self._mind_the_disk, name="disk")
            with self._command_socket() as commands:
                door = partial(self._commands_door.run, [commands], trio.Event(), None)
                await nursery.start(door, name="commands")
                settle_garbage()
                self._log.info("worker serves", backends=len(backends), keys=catalogue.key_count)
                await self._serve_until_drained()
                with trio.move_on_after(_LAST_QUESTIONS_SECONDS):
                    await stages.registry.wait_settled()
                nursery.cancel_scope.cancel(reason="drained")
        stages.flush()
        stages.journal.close()
        self._captures.close()
        if stages.archive is not None:
            stages.archive.spool.close()
        self._log.info("worker ended", requests=sum(stages.counters.requests.values()))

    async def _serve_until_drained(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._end_drain, nursery.cancel_scope, name="drain deadline")
            await self._door.run([self._listener], self._drain, _tls(self._stages.settings))
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
                    await self._reload()
                elif self._drain.is_set():
                    os._exit(1)  # the second time: whoever asks twice does not want to wait
                else:
                    self._drain.set()

    async def _follow(self) -> None:
        """A key that was revoked must not be good for a second more; and a month begins when it begins."""
        while True:
            to_month_end = self._calendar.ends_utc - utc_now()
            await trio.sleep(min(_LOOK_SECONDS, max(0.0, to_month_end)))
            if self._calendar.turn(utc_now()):
                self._stages.ledger.begin_month()
            await self._look()

    async def _reload(self) -> str:
        """Take over the snapshot on disk, all of it or nothing; the reason why not, or an empty text."""
        await self._look()
        if not self._follower.problem:
            head = self._catalogue.head
            await self._stages.registry.apply(head.backends, head.settings)
        return self._follower.problem

    async def _look(self) -> None:
        async with self._taking_over:
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
            self._has_other_backends.set()
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
            await self._has_other_backends.wait()
            self._has_other_backends = trio.Event()
            head = self._catalogue.head
            await self._stages.registry.apply(head.backends, head.settings)

    def _capture_as_set(self) -> None:
        groups = self._catalogue.groups.values()
        is_wanted = self._catalogue.head.settings.capture_bodies or any(group.captures_bodies for group in groups)
        self._stages.captures = self._captures if is_wanted else None

    async def _mind_the_disk(self) -> None:
        """Say what it did not take, for whoever writes is on a request's way; and end segments of captures in time.

        A segment that is being written cannot be removed, and what is captured is not to lie on the disk for long.
        """
        journal, captures, lost = self._stages.journal, self._captures, (0, 0)
        for number in itertools.count(1):
            await trio.sleep(_DISK_SECONDS)
            now_lost = journal.lost_records, captures.lost
            if now_lost != lost:
                records, bodies = (now - before for now, before in zip(now_lost, lost, strict=True))
                self._log.error("the disk does not take everything", lost_records=records, lost_captures=bodies)
            lost = now_lost
            if number % _CAPTURE_SEGMENT_CHECKS == 0:
                captures.close()

    async def _forget_responses(self) -> None:
        """Those that are too old, without traffic too."""
        while True:
            await trio.sleep(_FORGET_SECONDS)
            self._stages.responses.expire(trio.current_time())

    async def _watch_lag(self) -> None:
        """How late a task runs that wanted to run at a certain time: what every other task waits, too."""
        counters = self._stages.counters
        while True:
            due_at = trio.current_time() + _LAG_SECONDS
            await trio.sleep_until(due_at)
            lag = trio.current_time() - due_at
            counters.event_loop_lag_seconds = lag
            counters.event_loop_lag_worst_seconds = max(lag, counters.event_loop_lag_worst_seconds)

    def _command_socket(self) -> socket.socket:
        """Only the owner may command; a socket left by a killed worker of this name is replaced."""
        path = self._directory.worker_socket(self._name)
        path.unlink(missing_ok=True)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        previous_umask = os.umask(0o177)
        try:
            sock.bind(str(path))
        finally:
            os.umask(previous_umask)
        sock.listen()
        sock.setblocking(False)
        return sock


def settle_garbage() -> None:
    """What exists now exists for good: keep it out of the collector's sight, and let it look less often.

    A request makes few objects that refer to each other; with the default threshold (700) the collector would run
    every tenth request. docs/benchmarks.md has the pauses.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)


def _ledger(directory: DataDirectory, *, is_shared: bool) -> tuple[Ledger, Calendar]:
    """With what was spent before this process began, and the month that its budgets are of."""
    spent = read_spent(directory.journal)
    with suppress(OSError):  # it only makes the next start shorter, and a full disk must not prevent this one
        spent.save()
    now_utc = utc_now()
    month = month_in_force(now_utc, spent.months)
    sums = spent.lifetime, spent.months.get(month)
    return SharedLedger(int(now_utc * 1e6), *sums) if is_shared else Ledger(*sums), Calendar(month)


def _discipline(settings: Settings) -> Discipline:
    return Fifo() if settings.scheduler == "fifo" else Wdrr(settings.quantum_tokens, settings.burst_cap_tokens)


def _tls(settings: Settings) -> ssl.SSLContext | None:
    if not settings.tls_cert:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(settings.tls_cert, settings.tls_key or None)
    context.set_alpn_protocols(["http/1.1"])
    return context
