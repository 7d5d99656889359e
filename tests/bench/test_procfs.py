import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from bench import procfs


def test_stat_is_parsed_behind_the_last_bracket():
    fields = " ".join(str(number) for number in range(3, 53))
    parent, ticks = procfs.parse_stat(f"42 (a (b) c) {fields}")
    assert parent == 4  # the fourth field
    assert ticks == 14 + 15


def test_a_tree_holds_root_and_descendants(tmp_path):
    for pid, parent in ((1, 0), (10, 1), (11, 10), (12, 11), (20, 1)):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "stat").write_text(f"{pid} (x) S {parent} " + "0 " * 30)
    (tmp_path / "self").mkdir()
    assert procfs.list_tree([10], tmp_path) == (10, 11, 12)
    assert procfs.list_tree([20, 11], tmp_path) == (11, 12, 20)


def test_a_sample_of_ourselves_has_cpu_memory_and_files():
    before = procfs.sample((os.getpid(),))
    sum(range(200_000))
    after = procfs.sample((os.getpid(),))
    assert after.cpu_ns > before.cpu_ns > 0
    assert after.rss_bytes > 1_000_000
    assert after.open_files >= 3


def test_cpu_time_agrees_with_proc_stat():
    ticks = procfs.parse_stat(Path(f"/proc/{os.getpid()}/stat").read_text())[1]
    tick_seconds = 1 / os.sysconf("SC_CLK_TCK")
    assert procfs.cpu_ns_of(os.getpid()) / 1e9 == pytest.approx(ticks * tick_seconds, abs=5 * tick_seconds)


def test_what_is_gone_costs_nothing():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert procfs.cpu_ns_of(process.pid) == 0
    assert procfs.rss_bytes_of(process.pid) == 0
    assert procfs.open_files_of(process.pid) == 0


def test_a_listener_is_found_by_its_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert procfs.find_listener(listener.getsockname()[1]) == os.getpid()


def test_a_cores_busy_time_leaves_idle_and_waiting_out():
    text = "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 1 2 4 1000 1000 8 16 32 0 0\ncpu1 0 0 0 5 0 0 0 0 0 0\n"
    assert procfs.parse_busy_ticks(text, 0) == 63
    assert procfs.parse_busy_ticks(text, 1) == 0
    assert procfs.parse_busy_ticks(text, 7) == 0


def test_a_process_is_named_in_two_words():
    assert procfs.parse_cmdline(b"/usr/bin/python3.11\0-m\0mrproxy\0worker\0--drain\0") == "mrproxy worker"
    assert procfs.parse_cmdline(b"nginx: worker process\0\0") == "nginx: worker"
    assert procfs.parse_cmdline(b"/opt/smg\0--verbose\0") == "smg"
    assert procfs.name_of(os.getpid())


def test_the_environment_names_the_machine():
    assert set(procfs.describe_environment()) == {"cpu", "kernel", "python", "load"}


def test_cores_of_several_are_all_of_theirs_and_what_is_gone_has_none():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert procfs.cores_of((process.pid,)) == set()
    assert procfs.cores_of((os.getpid(), process.pid)) == os.sched_getaffinity(0)
