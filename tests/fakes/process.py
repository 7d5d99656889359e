"""Processes without an operating system: they end when told, or by a signal."""

import itertools
from dataclasses import dataclass, field

import trio

from mrproxy.child import Command, Running


@dataclass
class FakeProcess:
    """Ends with -9 by SIGKILL and with 0 by SIGTERM, the latter only unless it is `deaf`."""

    pid: int
    arguments: tuple[str, ...]
    started_at: float
    deaf: bool = False
    returncode: int | None = None
    signals: list[int] = field(default_factory=list)
    ended: trio.Event = field(default_factory=trio.Event)

    def send_signal(self, number: int) -> None:
        self.signals.append(number)
        if number == 9:
            self.end(-9)
        elif number == 15 and not self.deaf:
            self.end(0)

    def end(self, code: int) -> None:
        if self.returncode is None:
            self.returncode = code
            self.ended.set()


@dataclass
class FakeLaunch:
    """Stands in for `child.launch_process`. `failures` are raised, first to last, before anything starts."""

    deaf: bool = False
    failures: list[OSError] = field(default_factory=list)
    processes: list[FakeProcess] = field(default_factory=list)
    pids: "itertools.count[int]" = field(default_factory=lambda: itertools.count(100))
    changed: trio.Event = field(default_factory=trio.Event)

    async def __call__(self, command: Command, *, task_status: trio.TaskStatus[Running]) -> object:
        if self.failures:
            raise self.failures.pop(0)
        process = FakeProcess(next(self.pids), command.arguments, trio.current_time(), self.deaf)
        self.processes.append(process)
        self.changed.set()
        self.changed = trio.Event()
        task_status.started(process)
        try:
            await process.ended.wait()
        finally:
            process.end(-9)  # as cancellation does to a real one
        return None

    async def wait_started(self, count: int) -> FakeProcess:
        """The `count`th process, once it has been started."""
        while len(self.processes) < count:
            await self.changed.wait()
        return self.processes[count - 1]
