"""Shell. Puts a worker's stages together, from its settings and its data directory. Read next: `worker.py`."""

import os
import socket
import ssl
from contextlib import suppress
from pathlib import Path

from mrproxy.archive import Archive
from mrproxy.clock import utc_now
from mrproxy.config import Settings
from mrproxy.crashes import Crashes
from mrproxy.dialects.responses.store import ResponseStore
from mrproxy.forwarding import ControlUplink
from mrproxy.identity.callers import Identity
from mrproxy.images import open_images
from mrproxy.ledger.ledger import Ledger
from mrproxy.ledger.sharing import SharedLedger
from mrproxy.ledger.spent import read_spent
from mrproxy.ledger.sums import Calendar, month_in_force
from mrproxy.link.journal import Writer
from mrproxy.link.spool import SpoolWriter
from mrproxy.provision import DataDirectory, read_secret
from mrproxy.scheduler.cost import CostModel
from mrproxy.scheduler.fifo import Fifo
from mrproxy.scheduler.grant import Discipline, Scheduler
from mrproxy.scheduler.placement import placement_policy
from mrproxy.scheduler.wdrr import Wdrr
from mrproxy.sockets import Poller
from mrproxy.stages import Stages
from mrproxy.upstream.registry import Registry
from mrproxy.upstream.retry_budget import RetryBudget


def assemble(worker: str, directory: DataDirectory, settings: Settings, ledger: Ledger, crashes: Crashes) -> Stages:
    """They know nobody yet: keys, limits and backends come with a snapshot."""
    counters, poller = crashes.counters, Poller(crashes.end_source)
    registry = Registry(counters, poller, crashes.report)
    policy = placement_policy(settings.placement)
    stages = Stages(
        worker=worker,
        settings=settings,
        clock=utc_now,
        counters=counters,
        poller=poller,
        identity=Identity(read_secret(directory), utc_now),
        ledger=ledger,
        costs=CostModel(),
        scheduler=Scheduler(discipline_of(settings), policy, registry, settings),
        registry=registry,
        retry_budget=RetryBudget(settings.retry_budget_percent, 0.0),
        journal=Writer(directory.journal, worker, settings.journal_segment_bytes),
        control=ControlUplink(
            str(directory.control_socket),
            poller,
            settings,
            counters,
            is_tls=bool(settings.tls_cert),
            trusted_proxies=settings.trusted_proxies,
        ),
        images=open_images(settings),
        responses=response_store(settings),
        archive=open_archive(worker, directory, settings) if settings.records else None,
        crashed=crashes.report,
    )
    registry.changed = stages.scheduler.capacity_changed
    poller.after_batch = stages.flush
    return stages


def discipline_of(settings: Settings) -> Discipline:
    return Fifo() if settings.scheduler == "fifo" else Wdrr(settings.quantum_tokens, settings.burst_cap_tokens)


def response_store(settings: Settings) -> ResponseStore:
    return ResponseStore(settings.response_max_count, settings.response_max_bytes, settings.response_keep_seconds)


def open_archive(worker: str, directory: DataDirectory, settings: Settings) -> Archive:
    """Where there is a database: what outlasts the worker."""
    spool = SpoolWriter(directory.journal, worker, settings.journal_segment_bytes)
    return Archive(str(directory.control_socket), spool, utc_now, settings.response_keep_seconds)


def open_ledger(directory: DataDirectory, *, is_shared: bool) -> tuple[Ledger, Calendar]:
    """With what was spent before this process began, and the month that its budgets are of."""
    spent = read_spent(directory.journal)
    with suppress(OSError):  # it only makes the next start shorter, and a full disk must not prevent this one
        spent.save()
    now_utc = utc_now()
    month = month_in_force(now_utc, spent.months)
    sums = spent.lifetime, spent.months.get(month)
    return SharedLedger(int(now_utc * 1e6), *sums) if is_shared else Ledger(*sums), Calendar(month)


def open_command_socket(path: Path) -> socket.socket:
    """Only the owner may command; a socket left by a killed worker of this name is replaced."""
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


def tls_context(settings: Settings) -> ssl.SSLContext | None:
    """None: plain HTTP."""
    if not settings.tls_cert:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(settings.tls_cert, settings.tls_key or None)
    context.set_alpn_protocols(["http/1.1"])
    return context
