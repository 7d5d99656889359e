"""Shell. Other programs as child processes with an owner: started, watched, and gone when the block is left.

Their output goes to one file each, so that it can be waited for and shown when something goes wrong. They run in
sessions of their own: Ctrl-C reaches this process alone, which then stops them in the reverse order of their start.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

POLL_SECONDS = 0.02
TAIL_LINES = 15


class ChildFailed(Exception):
    """A child ended, or was not ready in time; the message has the end of its output."""


@dataclass(frozen=True)
class Child:
    """`log_path` has all it wrote, to either stream."""

    name: str
    process: subprocess.Popen[bytes]
    log_path: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def output(self) -> str:
        return self.log_path.read_text(errors="replace")

    def kill(self) -> None:
        """As a crash would: at once, without a goodbye."""
        self.process.kill()
        self.process.wait()

    def failed(self, why: str) -> ChildFailed:
        tail = "\n".join(f"    {line}" for line in self.output().splitlines()[-TAIL_LINES:])
        return ChildFailed(f"{self.name} {why}\n{tail or '    (it wrote nothing)'}")


def program(name: str, *arguments: str) -> list[str]:
    """The console script installed beside this interpreter: what a user would type."""
    return [str(Path(sys.executable).with_name(name)), *arguments]


def is_ready(url: str) -> bool:
    """Readiness through the front door: one URL for everything."""
    try:
        return httpx.get(f"{url}/readyz", trust_env=False, timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


@contextmanager
def run_child(
    name: str,
    command: Sequence[str | Path],
    log_directory: Path,
    *,
    environment: Mapping[str, str] | None = None,
    stop_seconds: float = 10,
) -> Iterator[Child]:
    """SIGTERM at the end of the block, SIGKILL `stop_seconds` later. ChildFailed if there is no such program."""
    log_path = log_directory / f"{name}.log"
    with log_path.open("wb") as log:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        except OSError as exc:
            raise ChildFailed(f"{name} cannot be started: {exc}") from exc
    try:
        yield Child(name, process, log_path)
    finally:
        stop(process, stop_seconds)


def stop(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Idempotent."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def wait_until(child: Child, is_ready: Callable[[], bool], *, seconds: float, what: str) -> None:
    """Ask again and again; ChildFailed when the child ends before, or the time does."""
    deadline = time.monotonic() + seconds
    while not is_ready():
        if child.process.poll() is not None:
            raise child.failed(f"ended with status {child.process.returncode}")
        if time.monotonic() > deadline:
            raise child.failed(f"was not ready within {seconds:g} s: {what}")
        time.sleep(POLL_SECONDS)


def wait_for_output(child: Child, pattern: str, *, seconds: float) -> re.Match[str]:
    """The first match in what the child writes."""
    wait_until(child, lambda: re.search(pattern, child.output()) is not None, seconds=seconds, what=f"no {pattern!r}")
    found = re.search(pattern, child.output())
    assert found is not None
    return found


def free_port(preferred: int = 0) -> int:
    """`preferred` if nobody listens there, else one the kernel gives. Somebody may take it before its user does."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("no free port on 127.0.0.1")
