"""Shell. What processes cost, read from the kernel: CPU of a process tree, resident memory, open file descriptors.

CPU comes from the process's own CPU clock (`clock_gettime` on the clock id derived from the pid, see
clock_getcpuclockid(3)): the same user + system time as in /proc/PID/stat, threads that have ended included, but in
nanoseconds instead of 10 ms ticks.
"""

import contextlib
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Usage:
    """One sample of a process tree."""

    at_ns: int
    cpu_ns_by_pid: dict[int, int]
    rss_bytes: int
    open_files: int

    @property
    def cpu_ns(self) -> int:
        return sum(self.cpu_ns_by_pid.values())


def parse_stat(text: str) -> tuple[int, int]:
    """(parent pid, user + system ticks) of /proc/PID/stat; the command in it may contain spaces and brackets."""
    fields = text[text.rindex(")") + 2 :].split(" ")
    return int(fields[1]), int(fields[11]) + int(fields[12])


def list_tree(roots: list[int], proc: Path = PROC) -> tuple[int, ...]:
    """`roots` and all their living descendants."""
    children: dict[int, list[int]] = {}
    for entry in proc.iterdir():
        if entry.name.isdigit():
            try:
                parent, _ = parse_stat((entry / "stat").read_text())
            except (OSError, ValueError):
                continue  # ended while we looked
            children.setdefault(parent, []).append(int(entry.name))
    found: list[int] = []
    pending = list(roots)
    while pending:
        pid = pending.pop()
        if pid not in found:
            found.append(pid)
            pending.extend(children.get(pid, []))
    return tuple(sorted(found))


def cpu_ns_of(pid: int) -> int:
    """User + system time of one process; 0 when it is gone."""
    try:
        return time.clock_gettime_ns((~pid << 3) | 2)
    except OSError:
        return 0


def parse_cmdline(data: bytes) -> str:
    """What a process is, in two words: `mrproxy worker`, `nginx: worker`."""
    words = [word for part in data.decode("utf-8", "replace").split("\0") for word in part.split()]
    names = [word.rsplit("/", 1)[-1] for word in words if not word.startswith("-")]
    if len(names) > 1 and names[0].startswith("python"):
        del names[0]
    return " ".join(names[:2])


def name_of(pid: int) -> str:
    try:
        return parse_cmdline((PROC / str(pid) / "cmdline").read_bytes())
    except OSError:
        return str(pid)


def rss_bytes_of(pid: int) -> int:
    try:
        return int((PROC / str(pid) / "statm").read_text().split()[1]) * PAGE_BYTES
    except (OSError, IndexError):
        return 0


def open_files_of(pid: int) -> int:
    try:
        return len(os.listdir(PROC / str(pid) / "fd"))
    except OSError:
        return 0


def sample(pids: tuple[int, ...]) -> Usage:
    """Of these processes, found once by `list_tree`: it reads all of /proc, and a load would stand still meanwhile."""
    return Usage(
        at_ns=time.monotonic_ns(),
        cpu_ns_by_pid={pid: cpu_ns_of(pid) for pid in pids},
        rss_bytes=sum(map(rss_bytes_of, pids)),
        open_files=sum(map(open_files_of, pids)),
    )


def parse_busy_ticks(text: str, core: int) -> int:
    """Ticks that a core was not idle since boot, from /proc/stat; time stolen by the host counts as busy."""
    for line in text.splitlines():
        name, *fields = line.split()
        if name == f"cpu{core}":
            user, nice, system, _idle, _wait, irq, softirq, steal = (int(field) for field in fields[:8])
            return user + nice + system + irq + softirq + steal
    return 0


def busy_seconds(core: int) -> float:
    return parse_busy_ticks((PROC / "stat").read_text(), core) / TICKS_PER_SECOND


def pin(roots: list[int], core: int) -> None:
    """Bind every thread of the tree to one core; what they start later inherits it."""
    for pid in list_tree(roots):
        try:
            threads = os.listdir(PROC / str(pid) / "task")
        except OSError:
            continue
        for thread in threads:
            try:
                os.sched_setaffinity(int(thread), {core})
            except OSError:
                continue


def cores_of(pids: tuple[int, ...]) -> set[int]:
    """Where these may run, together; processes that have ended count for nothing."""
    cores: set[int] = set()
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            cores |= os.sched_getaffinity(pid)
    return cores


def describe_environment() -> dict[str, str]:
    """What a reader needs to judge numbers: machine, kernel, Python."""
    model = "unknown"
    for line in (PROC / "cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    uname = os.uname()
    return {
        "cpu": f"{os.cpu_count()} x {model}",
        "kernel": f"{uname.sysname} {uname.release} {uname.machine}",
        "python": sys.version.split(" ", 1)[0],
        "load": " ".join(f"{value:.2f}" for value in os.getloadavg()),
    }


def find_listener(port: int) -> int | None:
    """The oldest process that listens on a TCP port of this host, from /proc/net/tcp."""
    inodes = {
        fields[9]
        for table in ("tcp", "tcp6")
        for line in (PROC / "net" / table).read_text().splitlines()[1:]
        if (fields := line.split())[3] == "0A" and int(fields[1].rsplit(":", 1)[1], 16) == port
    }
    for pid in sorted(int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()):
        try:
            for descriptor in (PROC / str(pid) / "fd").iterdir():
                link = os.readlink(descriptor)
                if link.startswith("socket:[") and link[8:-1] in inodes:
                    return pid
        except OSError:
            continue
    return None
