"""Shell. A child: restarts with back-off, stops when told, never outlives a cancellation."""

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.child import Child, Command, describe_exit, launch_process, next_delay
from tests.fakes.log import MemoryLog
from tests.fakes.process import FakeLaunch

COMMAND = Command(("engine",))


@asynccontextmanager
async def kept(launch: FakeLaunch) -> AsyncIterator[tuple[Child, MemoryLog]]:
    log = MemoryLog()
    child = Child("w1", COMMAND, log, launch)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(child.keep_running)
        yield child, log
        child.stop()


async def test_a_crashed_child_is_restarted_after_growing_delays(autojump_clock):
    launch = FakeLaunch()
    async with kept(launch) as (_, log):
        for number in range(1, 10):
            (await launch.wait_started(number)).end(1)
        await launch.wait_started(10)
    starts = [process.started_at for process in launch.processes]
    gaps = [round(later - earlier, 6) for earlier, later in itertools.pairwise(starts)]
    assert gaps == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]
    assert log.events("child ended")[0] == {"child": "w1", "reason": "exit code 1", "restart_seconds": 0.1}


async def test_the_delay_is_short_again_after_a_healthy_time(autojump_clock):
    launch = FakeLaunch()
    async with kept(launch):
        for number in range(1, 5):
            (await launch.wait_started(number)).end(1)
        process = await launch.wait_started(5)
        await trio.sleep(30)
        process.end(-11)
        await launch.wait_started(6)
    assert launch.processes[5].started_at - launch.processes[4].started_at == pytest.approx(30.1)


async def test_stop_asks_politely_and_does_not_restart(autojump_clock):
    launch = FakeLaunch()
    async with kept(launch) as (_, log):
        await launch.wait_started(1)
    assert launch.processes[0].signals == [signal.SIGTERM]
    assert len(launch.processes) == 1
    assert log.events("child stopped") == [{"child": "w1", "reason": "exit code 0"}]


async def test_stop_ends_the_wait_for_a_restart(autojump_clock):
    launch = FakeLaunch()
    async with kept(launch):
        (await launch.wait_started(1)).end(1)
        await trio.testing.wait_all_tasks_blocked()
        before = trio.current_time()
    assert trio.current_time() == before
    assert len(launch.processes) == 1


async def test_a_stop_that_comes_during_the_fork_is_not_lost(autojump_clock):
    launch = FakeLaunch()
    child = Child("w1", COMMAND, MemoryLog(), launch)

    async def stopped_meanwhile(command, *, task_status):
        child.stop()
        return await launch(command, task_status=task_status)

    child.launch = stopped_meanwhile
    await child.keep_running()
    assert launch.processes[0].signals == [signal.SIGTERM]


async def test_a_failed_fork_is_tried_again(autojump_clock):
    launch = FakeLaunch(failures=[OSError(11, "Resource temporarily unavailable")])
    async with kept(launch) as (_, log):
        assert (await launch.wait_started(1)).started_at == pytest.approx(trio.current_time())
    assert "Resource temporarily unavailable" in str(log.events("child ended")[0]["reason"])


async def test_cancellation_kills(autojump_clock):
    launch = FakeLaunch(deaf=True)
    child = Child("w1", COMMAND, MemoryLog(), launch)
    with trio.move_on_after(5):
        await child.keep_running()
    assert launch.processes[0].returncode == -9


def test_signals_to_a_child_that_is_not_running_go_nowhere():
    Child("w1", COMMAND, MemoryLog()).send_signal(signal.SIGHUP)


def test_exits_are_described():
    assert describe_exit(3) == "exit code 3"
    assert describe_exit(-9) == "killed by SIGKILL"


@given(st.floats(0, 10), st.floats(0, 1e6))
def test_delays_stay_between_the_first_and_the_longest(delay_seconds, up_seconds):
    assert 0.1 <= next_delay(max(delay_seconds, 0.1), up_seconds) <= 10


@pytest.mark.slow
async def test_a_real_child_inherits_descriptors_and_has_a_session_of_its_own():
    reader, writer = os.pipe()
    code = f"import os; os.write({writer}, str(os.getsid(0) == os.getpid()).encode())"
    async with trio.open_nursery() as nursery:
        command = Command((sys.executable, "-I", "-c", code), (writer,))
        process = await nursery.start(lambda task_status: launch_process(command, task_status=task_status))
    assert process.returncode == 0
    assert os.read(reader, 9) == b"True"
    os.close(reader)
    os.close(writer)


@pytest.mark.slow
async def test_a_real_child_is_killed_and_reaped_by_cancellation():
    command = Command((sys.executable, "-I", "-c", "import signal; signal.pause()"))
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            process = await nursery.start(lambda task_status: launch_process(command, task_status=task_status))
            nursery.cancel_scope.cancel()
    assert process.returncode == -signal.SIGKILL


@pytest.mark.slow
def test_a_child_ends_itself_when_its_lifeline_breaks():
    reader, writer = os.pipe()
    imports = "import sys, signal; from mrproxy.cli.children import watch_lifeline"
    code = f"{imports}; watch_lifeline(int(sys.argv[1])); signal.pause()"
    with subprocess.Popen([sys.executable, "-c", code, str(reader)], pass_fds=(reader,)) as process:
        os.close(reader)
        os.close(writer)
        assert process.wait(30) == -signal.SIGTERM
