"""Child processes: real ones, short ones."""

import os
import socket
import sys
from pathlib import Path

import pytest

from bench.children import ChildFailed, free_port, run_child, wait_for_output, wait_until

SLEEP = "import time; print('listening on 1234', flush=True); time.sleep(60)"


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_child_is_gone_when_its_block_is_left(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), run_child("sleeper", [sys.executable, "-c", SLEEP], tmp_path) as child:
        assert wait_for_output(child, r"listening on (\d+)", seconds=10)[1] == "1234"
        raise KeyboardInterrupt
    assert not is_running(child.pid)


def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + SLEEP
    with run_child("stubborn", [sys.executable, "-c", stubborn], tmp_path, stop_seconds=0.05) as child:
        wait_for_output(child, "listening", seconds=10)
    assert not is_running(child.pid)


def test_a_child_that_ends_early_is_reported_with_its_last_words(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no such port')"]
    with pytest.raises(ChildFailed, match=r"ended with status 1\n +no such port"):
        with run_child("gateway", command, tmp_path) as child:
            wait_for_output(child, "listening", seconds=10)


def test_a_child_that_is_not_ready_in_time_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ChildFailed, match="not ready within 0 s: it never is"):
        with run_child("slow", [sys.executable, "-c", SLEEP], tmp_path) as child:
            wait_until(child, lambda: False, seconds=0, what="it never is")


def test_a_program_that_does_not_exist_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ChildFailed, match="nothing cannot be started"):
        with run_child("nothing", [tmp_path / "no-such-program"], tmp_path):
            pass


def test_a_child_sees_its_environment(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import os; print(os.environ['COLOUR'])"]
    with run_child("echo", command, tmp_path, environment={"COLOUR": "blue"}) as child:
        child.process.wait()
        assert child.output() == "blue\n"


def test_a_taken_port_is_replaced_by_a_free_one() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port(port) not in {0, port}
