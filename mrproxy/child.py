"""Shell. One child process of the supervisor, kept running.

A child that ends without having been asked is started again: after 0.1 s, then twice as long each time up to 10 s, and
after 0.1 s again once it had been up for 30 s. A crash loop therefore costs nothing and one crash costs 0.1 s.

Children must not outlive the supervisor, whatever kills it. PR_SET_PDEATHSIG looks made for it but fires when the
*thread* that forked ends, and trio forks in a worker thread that ends after 10 s of idleness. So every child inherits
the read end of a pipe whose write end only the supervisor holds: when that reads end-of-file, the child ends itself
as if by SIGTERM (`wait_for_orphanage` in `cli/children.py`), which lets running streams finish.
"""

import os
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import trio

FIRST_DELAY_SECONDS = 0.1
LONGEST_DELAY_SECONDS = 10.0
HEALTHY_AFTER_SECONDS = 30.0


class Running(Protocol):
    """What is asked of a process; trio.Process has it."""

    @property
    def pid(self) -> int: ...
    @property
    def returncode(self) -> int | None: ...
    def send_signal(self, number: int) -> None: ...


class ChildLog(Protocol):
    def info(self, event: str, **fields: str | float | bool | None) -> None: ...
    def error(self, event: str, **fields: str | float | bool | None) -> None: ...


class Launch(Protocol):
    """Start a command, report the process by `started`, return when it has ended; when cancelled, kill it."""

    async def __call__(self, command: "Command", *, task_status: trio.TaskStatus[Running]) -> object: ...


@dataclass(frozen=True, slots=True)
class Command:
    """`inherited` are descriptors that keep their numbers in the child; `environment` is added to ours: secrets go
    there, because arguments are for everybody to see."""

    arguments: tuple[str, ...]
    inherited: tuple[int, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


async def launch_process(command: Command, *, task_status: trio.TaskStatus[Running]) -> object:
    """A session of its own, so that Ctrl-C on the terminal reaches the supervisor alone and it decides the order."""
    return await trio.run_process(
        list(command.arguments),
        check=False,
        stdin=subprocess.DEVNULL,
        pass_fds=command.inherited,
        env=os.environ | dict(command.environment),
        start_new_session=True,
        deliver_cancel=kill,
        task_status=task_status,
    )


async def kill(process: trio.Process) -> None:
    process.kill()


def next_delay(delay_seconds: float, up_seconds: float) -> float:
    """The wait before the next start; `delay_seconds` is the wait before the one that just ended, 0 at first."""
    if up_seconds >= HEALTHY_AFTER_SECONDS or delay_seconds == 0:
        return FIRST_DELAY_SECONDS
    return min(delay_seconds * 2, LONGEST_DELAY_SECONDS)


@dataclass(slots=True)
class Child:
    """One place in the supervisor's list; the processes in it come and go."""

    name: str
    command: Command
    log: ChildLog
    launch: Launch = launch_process
    running: Running | None = None
    stop_wanted: trio.Event = field(default_factory=trio.Event)

    def stop(self) -> None:
        """SIGTERM, and no restart."""
        self.stop_wanted.set()
        self.send_signal(signal.SIGTERM)

    def send_signal(self, number: int) -> None:
        if self.running is not None and self.running.returncode is None:
            self.running.send_signal(number)

    async def keep_running(self) -> None:
        """Until `stop`, which it outlasts to the end of the process.

        Cancelled kills the process and has reaped it when it arrives here.
        """
        delay_seconds = 0.0
        while not self.stop_wanted.is_set():
            started_at = trio.current_time()
            reason = await self.run_once()
            if self.stop_wanted.is_set():
                self.log.info("child stopped", child=self.name, reason=reason)
                return
            delay_seconds = next_delay(delay_seconds, trio.current_time() - started_at)
            self.log.error("child ended", child=self.name, reason=reason, restart_seconds=delay_seconds)
            with trio.move_on_after(delay_seconds):
                await self.stop_wanted.wait()

    async def run_once(self) -> str:
        """From fork to the end of the process; returns how it ended."""
        reason = ""
        try:
            async with trio.open_nursery() as nursery:
                running: Running = await nursery.start(self.launch, self.command)
                self.running = running
                self.log.info("child started", child=self.name, pid=running.pid)
                if self.stop_wanted.is_set():  # asked while it was being forked
                    self.send_signal(signal.SIGTERM)
            reason = describe_exit(running.returncode)
        except* OSError as group:  # fork or exec failed: no memory, too many processes; the next try may succeed
            reason = str(group.exceptions[0])
        finally:
            self.running = None
        return reason


def describe_exit(code: int | None) -> str:
    """`exit code 1`, `killed by SIGKILL`."""
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"
