"""Shell. What `mrproxy doctor` looks at on this machine: files, disk, clock, limits, certificates. Nothing is made.

Each check is a function that returns findings; it raises nothing that a sick machine can cause.
Read next: `checks_beyond.py`, what has to be asked; `doctor.py`.
"""

import enum
import os
import resource
import shutil
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mrproxy.config import Settings
from mrproxy.identity.digest import SECRET_BYTES
from mrproxy.link.snapshot import SnapshotError, read
from mrproxy.provision import DataDirectory
from mrproxy.supervisor import needed_descriptors

MIB = 1 << 20
FULL_BYTES, LOW_BYTES, LOW_SHARE = 100 * MIB, 1024 * MIB, 0.05
LOW_INODES = 1000
# Nothing of ours is older than this program.
EARLIEST_UTC = datetime(2025, 1, 1, tzinfo=UTC).timestamp()
AHEAD_SECONDS = 60.0
DAY_SECONDS = 86_400.0
RENEW_DAYS = 14


class Level(enum.Enum):
    """`error`: something does not work, or will not."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """`advice` is what to do about it."""

    check: str
    level: Level
    detail: str
    advice: str = ""


def ok(check: str, detail: str) -> Finding:
    return Finding(check, Level.OK, detail)


def warning(check: str, detail: str, advice: str) -> Finding:
    return Finding(check, Level.WARNING, detail, advice)


def error(check: str, detail: str, advice: str) -> Finding:
    return Finding(check, Level.ERROR, detail, advice)


def check_directory(directory: DataDirectory) -> Finding:
    name, root = "data directory", directory.root
    try:
        found = root.stat()
    except OSError as exc:
        return error(name, f"{root}: {exc.strerror}", "start `mrproxy serve` once, or name it with --data-dir")
    if not stat.S_ISDIR(found.st_mode):
        return error(name, f"{root} is no directory", "name another with --data-dir")
    if found.st_uid != os.geteuid():
        return error(name, f"{root} is another user's", "run this, and the gateway, as its owner")
    if not os.access(root, os.W_OK | os.X_OK):
        return error(name, f"{root} cannot be written to", f"chmod 700 {root}")
    if found.st_mode & 0o077:
        return warning(name, f"{root} can be opened by others", f"chmod 700 {root}")
    return ok(name, str(root))


def check_secret(directory: DataDirectory) -> Finding:
    name, path = "secret", directory.secret
    try:
        size, mode = len(path.read_bytes()), path.stat().st_mode
    except FileNotFoundError:
        if directory.keys.exists():
            return error(name, f"{path} is missing: no stored key is good without it", "restore it from a backup")
        return warning(name, "there is none yet", "the first start makes it; back it up with the database")
    except OSError as exc:
        return error(name, f"{path}: {exc.strerror}", f"chmod 600 {path}")
    if size != SECRET_BYTES:
        return error(name, f"{path} has {size} bytes instead of {SECRET_BYTES}", "restore it from a backup")
    if mode & 0o077:
        return warning(name, f"{path} can be read by others", f"chmod 600 {path}")
    return ok(name, f"{SECRET_BYTES} bytes, readable by its owner alone")


def check_snapshot(directory: DataDirectory) -> Finding:
    name = "snapshot"
    if not directory.snapshot.exists():
        return warning(name, "there is none yet", "the first start makes it")
    try:
        found = read(directory.snapshot)
    except SnapshotError as exc:
        return error(name, str(exc), "remove the file and start the gateway: it is made anew")
    return ok(name, f"generation {found.generation}: {len(found.keys)} keys, {len(found.backends)} backends")


def check_journal(directory: DataDirectory) -> Finding:
    """By writing a byte, which is the one way to know; it is removed at once."""
    name, probe = "journal", directory.journal / f".doctor-{os.getpid()}"
    if not directory.journal.is_dir():
        return warning(name, "there is none yet", "the first start makes it")
    try:
        descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(descriptor, b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
            probe.unlink()
    except OSError as exc:
        return error(
            name, f"{directory.journal}: {exc.strerror}", "requests are served, and their records lost: make room"
        )
    segments = [path.stat().st_size for path in directory.journal.glob("*") if path.is_file()]
    return ok(name, f"can be written to; {len(segments)} files, {sum(segments) / MIB:.1f} MiB")


def check_disk(directory: DataDirectory) -> Finding:
    name = "disk"
    try:
        usage, inodes = shutil.disk_usage(directory.root), os.statvfs(directory.root)
    except OSError as exc:
        return error(name, f"{directory.root}: {exc.strerror}", "see the data directory")
    return judge_disk(usage.free, usage.total, inodes.f_favail if inodes.f_files else LOW_INODES)


def judge_disk(free_bytes: int, total_bytes: int, free_inodes: int) -> Finding:
    name, detail = "disk", f"{free_bytes / MIB:,.0f} MiB of {total_bytes / MIB:,.0f} are free"
    advice = "make room, or keep less: records_keep_days, bodies_keep_days, journal_keep_seconds"
    if free_bytes < FULL_BYTES:
        return error(name, detail, advice)
    if free_inodes < LOW_INODES:
        return error(name, f"{free_inodes} more files can be made", "remove files that nobody needs")
    if free_bytes < min(LOW_BYTES, total_bytes * LOW_SHARE):
        return warning(name, detail, advice)
    return ok(name, detail)


def check_clock(directory: DataDirectory, now_utc: float) -> Finding:
    """Months, expiries and limits are counted by it. Files of tomorrow say that it was set back."""
    name, shown = "clock", datetime.fromtimestamp(now_utc, UTC).isoformat(timespec="seconds")
    if now_utc < EARLIEST_UTC:
        return error(name, f"it is {shown}", "set the clock; use NTP")
    ahead = max(newest_of((directory.snapshot, directory.secret, *directory.journal.glob("*"))) - now_utc, 0.0)
    if ahead > AHEAD_SECONDS:
        return warning(name, f"it is {shown}, and files are {ahead:.0f} s newer", "set the clock; use NTP")
    return ok(name, shown)


def newest_of(paths: Iterable[Path]) -> float:
    times = [0.0]
    for path in paths:
        try:
            times.append(path.stat().st_mtime)
        except OSError:
            continue
    return max(times)


def check_descriptors(settings: Settings) -> Finding:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return judge_descriptors(hard, needed_descriptors(settings))


def judge_descriptors(hard: int, needed: int) -> Finding:
    name = "open files"
    if hard == resource.RLIM_INFINITY:
        return ok(name, "no limit")
    detail = f"at most {hard:,}; max_connections needs {needed:,}"
    if hard < needed:
        return warning(name, detail, "raise it (`ulimit -Hn`, systemd's LimitNOFILE=), or lower max_connections")
    return ok(name, detail)


def check_tls(settings: Settings, now_utc: float) -> list[Finding]:
    """The certificate that clients get; nothing where there is none."""
    import ssl

    from cryptography import x509

    name = "TLS certificate"
    if not settings.tls_cert:
        return []
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(settings.tls_cert, settings.tls_key or None)
        certificate = x509.load_pem_x509_certificates(Path(settings.tls_cert).read_bytes())[0]
    except (OSError, ValueError) as exc:
        return [
            error(name, f"{settings.tls_cert}: {exc}", "tls_cert and tls_key must be PEM files and belong together")
        ]
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return [judge_dates(name, begins.timestamp(), ends.timestamp(), now_utc)]


def judge_dates(name: str, begins_utc: float, ends_utc: float, now_utc: float) -> Finding:
    detail = f"good until {datetime.fromtimestamp(ends_utc, UTC).date()}"
    if now_utc >= ends_utc:
        return error(name, f"it was {detail}", "renew it and restart")
    if now_utc < begins_utc:
        begins = datetime.fromtimestamp(begins_utc, UTC).date()
        return error(name, f"it begins on {begins}", "look at the clock, or wait")
    if ends_utc - now_utc < RENEW_DAYS * DAY_SECONDS:
        return warning(name, detail, "renew it and restart")
    return ok(name, detail)
