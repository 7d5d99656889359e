"""Who goes first: what is asked of the kernel, in processes of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mrproxy import priority


def run(code: str) -> str:
    program = f"from mrproxy.priority import *; import os; {code}"
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.strip()


def test_control_gives_way():
    before = os.getpriority(os.PRIO_PROCESS, 0)
    assert run("give_way(3); print(os.getpriority(os.PRIO_PROCESS, 0))") == str(min(19, before + 3))


@pytest.mark.skipif(not Path("/proc/self/sched").exists(), reason="this kernel does not say")
def test_a_worker_has_short_turns_where_the_kernel_knows_them():
    said = run("agreed = ask_for_short_turns(); print(agreed, open('/proc/self/sched').read().replace(chr(10), ' '))")
    agreed, found = said.split(" ", 1)
    if "se.slice" in found and agreed == "True":
        assert found.partition("se.slice")[2].split()[1] == "100000"
    else:
        assert agreed in ("True", "False")


def test_a_machine_whose_number_nobody_knows_is_left_as_it_is(monkeypatch):
    monkeypatch.setattr(priority.platform, "machine", lambda: "vax")
    assert not priority.ask_for_short_turns()
