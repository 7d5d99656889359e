"""Who goes first: what is asked of the kernel, in processes of their own."""

import os
import subprocess
import sys

from mrproxy import priority


def run(code: str) -> str:
    program = f"from mrproxy.priority import *; import os, resource, threading; {code}"
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.strip()


def test_control_gives_way():
    before = os.getpriority(os.PRIO_PROCESS, 0)
    assert run("give_way(3); print(os.getpriority(os.PRIO_PROCESS, 0))") == str(min(19, before + 3))


def test_a_worker_goes_first_with_all_its_threads_where_it_may():
    said = run(
        "agreed = go_first(); found = [os.sched_getscheduler(0)];"
        "thread = threading.Thread(target=lambda: found.append(os.sched_getscheduler(0)));"
        "thread.start(); thread.join(); print(agreed, *found)"
    )
    policy = os.SCHED_RR if said.startswith("True") else os.SCHED_OTHER
    assert said == f"{policy == os.SCHED_RR} {policy} {policy}"


def test_a_worker_that_may_not_is_told_so(monkeypatch):
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(priority.os, "sched_setscheduler", refuse)
    assert not priority.go_first()
