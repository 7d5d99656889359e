"""`kill -9` of each process in turn: what is lost is what that process held, and nothing else."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.children import program
from mrproxy.link.records import JournalRecord
from tests.front_door.gateway import (
    KEY,
    MESSAGES,
    Gateway,
    backend_table,
    count_tokens,
    eventually,
    key_table,
    run_gateway,
    run_mock,
    under_load,
)

pytestmark = pytest.mark.slow

CHAT = {"model": "mock-8b", "messages": MESSAGES, "max_tokens": 5}
LONG = {**CHAT, "max_tokens": 400, "stream": True}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with run_mock("vllm", tmp_path_factory.mktemp("engine"), "--model=mock-8b") as url:
        yield url


@contextmanager
def gateway_in_front_of(engine: str, directory: Path) -> Iterator[Gateway]:
    with run_gateway(directory, backend_table("mock-vllm", "vllm", engine) + key_table(KEY, "ada")) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def gateway(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway_in_front_of(engine, tmp_path_factory.mktemp("gateway")) as gateway:
        yield gateway


def chat(gateway: Gateway, request_id: str = "") -> int:
    headers = {"X-Request-Id": request_id} if request_id else None
    return gateway.ask("POST", "/v1/chat/completions", CHAT, headers=headers).status


def kill(gateway: Gateway, role: str) -> int:
    pid = gateway.pid_of(role)
    os.kill(pid, signal.SIGKILL)
    return pid


def test_a_killed_worker_is_restarted_and_loses_neither_connections_nor_records(gateway: Gateway):
    ids = [f"settled-{number}" for number in range(20)]
    assert [chat(gateway, request_id) for request_id in ids] == [200] * 20
    gateway.record_of(ids[-1])  # a request is settled when its last byte has left, so a moment after the client has it
    killed = kill(gateway, "w1")
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: chat(gateway), range(8))) == [200] * 8
    assert gateway.pid_of("w1") != killed
    assert "killed by SIGKILL" in gateway.child.output()
    journalled = [record.request_id for record in gateway.records()]
    assert [journalled.count(request_id) for request_id in ids] == [1] * 20


def test_a_stream_of_a_killed_worker_breaks_and_does_not_end_as_if_it_were_whole(gateway: Gateway):
    with gateway.connect() as sock:
        body = json.dumps({**LONG, "max_tokens": 4000}).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\n"
        sock.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        received = sock.recv(65536)
        assert received.startswith(b"HTTP/1.1 200 ")
        kill(gateway, "w1")
        try:
            while data := sock.recv(65536):
                received += data
        except ConnectionResetError:
            pass
    assert b"[DONE]" not in received
    assert not received.endswith(b"\r\n0\r\n\r\n")
    assert chat(gateway) == 200


def test_the_journal_is_readable_after_a_kill_under_load(gateway: Gateway):
    with under_load(gateway) as load:
        kill(gateway, "w1")
        load.wait_for_more(10)
    command = program("mrproxy", "journal", "stat", "--json", f"--data-dir={gateway.data_dir}")
    finished = subprocess.run(command, check=True, capture_output=True, text=True, timeout=20)
    assert '"records"' in finished.stdout
    # Who had an answer in whole has a record in whole, but for those few that the kill found between the two.
    assert len([record for record in gateway.records() if record.status == 200]) >= load.answered - 4


def test_inference_does_not_notice_that_control_was_killed(gateway: Gateway):
    with under_load(gateway) as load:
        killed = kill(gateway, "control")
        load.wait_for_more(20)
        eventually(lambda: gateway.ask("GET", "/healthz").status == 200 or None, "control does not come back")
        load.wait_for_more(5)
    assert load.failures == []
    assert gateway.pid_of("control") != killed


def test_pages_are_503_in_json_while_control_is_away(gateway: Gateway):
    gateway.wait_until_ready()
    kill(gateway, "control")
    answer = gateway.ask("GET", "/healthz")
    assert (answer.status, answer.json()["error"]["code"]) == (503, "control_unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    gateway.wait_until_ready()


def test_a_worker_starts_from_the_last_snapshot_while_control_hangs(gateway: Gateway):
    gateway.wait_until_ready()
    control = gateway.pid_of("control")
    os.kill(control, signal.SIGSTOP)
    try:
        killed = kill(gateway, "w1")
        assert chat(gateway) == 200
        assert gateway.pid_of("w1") != killed
    finally:
        os.kill(control, signal.SIGCONT)
    gateway.wait_until_ready()


def test_the_journals_reader_goes_on_after_both_were_killed(gateway: Gateway):
    kill(gateway, "control")
    kill(gateway, "w1")
    gateway.wait_until_ready()
    assert chat(gateway, "after-both") == 200
    gateway.wait_for('"event":"request","request_id":"after-both"')


def test_a_spent_budget_stays_spent_after_a_kill(engine: str, tmp_path: Path):
    key = key_table(KEY, "ada", token_budget=400)
    with run_gateway(tmp_path, backend_table("mock-vllm", "vllm", engine) + key) as gateway:
        asked = {**CHAT, "max_tokens": 300}
        assert gateway.ask("POST", "/v1/chat/completions", asked).status == 200
        refused = gateway.ask("POST", "/v1/chat/completions", asked)
        kill(gateway, "w1")
        again = gateway.ask("POST", "/v1/chat/completions", asked)
    assert [refused.status, again.status] == [429, 429]
    assert again.json()["error"]["code"] == "insufficient_quota"


def test_without_their_supervisor_the_children_finish_their_streams_and_end(engine: str, tmp_path: Path):
    with gateway_in_front_of(engine, tmp_path) as gateway:
        children = [gateway.pid_of("w1"), gateway.pid_of("control")]
        with gateway.open_openai() as client:
            stream = client.chat.completions.create(**LONG)
            tokens = count_tokens([next(stream)])
            gateway.child.kill()
            assert tokens + count_tokens(stream) == 400
        for pid in children:
            eventually(lambda pid=pid: not is_alive(pid) or None, f"process {pid} outlives its supervisor")
        last: JournalRecord = gateway.records()[-1]
        assert (last.status, last.completion_tokens) == (200, 400)
    with gateway_in_front_of(engine, tmp_path) as gateway:  # the lock, the sockets and the keys are as they should be
        assert chat(gateway) == 200


def is_alive(pid: int) -> bool:
    """A zombie, which nobody here may reap, is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
