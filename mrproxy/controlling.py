"""Shell. The control plane's process: pages and APIs, and what runs beside them.

With a database, what workers wrote goes into it and what it manages comes out as the snapshot's part; without one,
there are the status, the metrics and the pages that need none.
What is large is imported in functions, when signals are received already: it takes a second, and a SIGHUP in it would
end the process. Read next: `control/assembly.py` (what is offered), `control/server.py`, `storage/takeover.py`.
"""

import os
import signal
from functools import partial
from importlib.metadata import version
from pathlib import Path

import trio

from mrproxy.clock import utc_now
from mrproxy.config import ConfigError, Settings, variable_of
from mrproxy.provision import open_data_directory, read_secret
from mrproxy.telemetry.log import Log

# Whoever is answered at all finds his tables, unless the database is away or takes longer than this to migrate.
_TABLES_SECONDS = 5.0
# What is not in the database by then is taken over at the next start.
_LAST_BATCHES_SECONDS = 1.0


async def control(settings: Settings, data_dir: Path, log: Log, is_shared: bool) -> None:
    """Until SIGTERM. `is_shared`: there are several workers, and limits are shared between them."""
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
            await _first_of(publisher.tried, drain)
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


async def _first_of(*events: trio.Event) -> None:
    """Wait for any of them, for at most _TABLES_SECONDS."""

    async def end(event: trio.Event) -> None:
        await event.wait()
        nursery.cancel_scope.cancel(reason="one of them")

    with trio.move_on_after(_TABLES_SECONDS):
        async with trio.open_nursery() as nursery:
            for event in events:
                nursery.start_soon(end, event)


async def _drain_on_signal(drain: trio.Event, *, task_status: trio.TaskStatus[None]) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as received:
        task_status.started()
        async for number in received:
            if number != signal.SIGHUP:  # a reload: nothing here depends on it yet
                drain.set()
