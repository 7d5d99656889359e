import os
import subprocess
import sys

import click
import pytest

from bench.targets import Target, free_port, open_command, open_process, parse_url, stop_group, wait_listening


def test_urls_are_host_and_port():
    assert parse_url("http://127.0.0.1:8000/") == ("127.0.0.1", 8000)
    assert parse_url("http://host") == ("host", 80)
    for wrong in ("https://a", "127.0.0.1:80"):
        with pytest.raises(click.BadParameter):
            parse_url(wrong)


def test_a_target_knows_its_url():
    assert Target("a", "h", 1, ()).url == "http://h:1"


@pytest.mark.slow
def test_a_process_is_gone_when_its_block_ends():
    with open_process([sys.executable, "-c", "import time; time.sleep(60)"], None) as process:
        assert process.poll() is None
    assert process.poll() is not None
    stop_group(process)  # twice does no harm
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


PINNING = """
import os, sys
from bench.targets import PROXY_CORE, open_process, pin_generator
print(pin_generator(), os.sched_getaffinity(0))
with open_process([sys.executable, "-c", "import os; print(os.sched_getaffinity(0))"], PROXY_CORE, log=Log()) as child:
    child.wait()
"""


@pytest.mark.slow
@pytest.mark.skipif(os.cpu_count() == 1, reason="one core: nothing is pinned")
def test_what_the_pinned_generator_starts_is_on_the_proxies_core_all_the_same(tmp_path):
    """In a process of its own: a pinned test runner would stay so."""
    log = tmp_path / "child"
    program = PINNING.replace("Log()", f"__import__('pathlib').Path({str(log)!r})")
    generator = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (generator.stdout, log.read_text()) == ("True {1}\n", "{0}\n")


@pytest.mark.slow
def test_a_command_is_told_its_port_and_its_upstream():
    program = "import http.server,sys; assert sys.argv[2]=='http://h:1'; http.server.test(port=int(sys.argv[1]))"
    with open_command("x", f'{sys.executable} -c "{program}" {{port}} {{upstream}}', Target("m", "h", 1, ())) as target:
        assert target.port
        assert target.pids


@pytest.mark.slow
def test_a_process_that_ends_early_is_reported():
    with open_process([sys.executable, "-c", "raise SystemExit(3)"], None) as process:
        with pytest.raises(click.ClickException, match="ended with 3"):
            wait_listening("127.0.0.1", free_port(), process)
