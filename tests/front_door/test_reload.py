"""SIGHUP: all of a new configuration or nothing of it, and no request lost."""

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from bench.children import program
from mrproxy.link.publishing import MANAGED_NAME, SNAPSHOT_NAME
from mrproxy.link.snapshot import read_preamble
from tests.front_door.gateway import (
    KEY,
    MESSAGES,
    Gateway,
    backend_table,
    eventually,
    key_table,
    run_gateway,
    run_mock,
    under_load,
)

pytestmark = pytest.mark.slow

LEAVING, COMING = "mr_front-door-leaving", "mr_front-door-coming"
CHAT = {"model": "mock-8b", "messages": MESSAGES, "max_tokens": 3}


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The URLs of one with `mock-8b` and one with `mock-70b` besides."""
    directory = tmp_path_factory.mktemp("engines")
    with ExitStack() as stack:
        first = stack.enter_context(run_mock("vllm", directory, "--model=mock-8b", name="first"))
        both = ("--model=mock-8b", "--model=mock-70b")
        yield first, stack.enter_context(run_mock("vllm", directory, *both, name="second"))


@pytest.fixture(scope="module")
def running(engines: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with run_gateway(tmp_path_factory.mktemp("gateway"), configuration(engines[:1], KEY, LEAVING)) as gateway:
        # A generation of its own: afterwards they are made by reloads only.
        eventually(lambda: has_managed_part(gateway) or None, "the database's part has not come into force")
        yield gateway


def has_managed_part(gateway: Gateway) -> bool:
    in_force = read_preamble(gateway.data_dir / SNAPSHOT_NAME).generation
    return (gateway.data_dir / MANAGED_NAME).exists() and generation(gateway) == in_force > 1


@pytest.fixture
def gateway(running: Gateway, engines: tuple[str, str]) -> Gateway:
    """As if it had just been started with the first engine and two keys."""
    running.config_path.write_text(configuration(engines[:1], KEY, LEAVING))
    reload_all(running)
    return running


def reload_all(gateway: Gateway) -> None:
    """And wait until the worker serves what the supervisor then says is in force."""
    before = len(reloads(gateway))
    gateway.reload()
    wanted = eventually(lambda: reloads(gateway)[before:] or None, "the supervisor has not reloaded")[0]
    eventually(lambda: generation(gateway) == wanted or None, f"generation {wanted} is not served")


def reloads(gateway: Gateway) -> list[int]:
    """The generations that the supervisor has put into force, or found there."""
    lines = (json.loads(line) for line in gateway.child.output().splitlines() if line.startswith("{"))
    return [line["generation"] for line in lines if (line["component"], line["event"]) == ("supervisor", "reloaded")]


def configuration(engines: tuple[str, ...], *keys: str, first_line: str = "") -> str:
    names = ("first", "second")
    backends = [backend_table(name, "vllm", url) for name, url in zip(names, engines, strict=False)]
    return "\n".join([first_line, *backends, *(key_table(key, "ada") for key in keys)])


def generation(gateway: Gateway) -> int:
    workers = gateway.ask("GET", "/status").json()["workers"]
    return int(workers[0]["snapshot_generation"])


def status_with(gateway: Gateway, key: str, model: str = "mock-8b") -> int:
    return gateway.ask("POST", "/v1/chat/completions", {**CHAT, "model": model}, key=key).status


@pytest.mark.parametrize(
    ("first_line", "reason"),
    [("drain_seconds = 'many'", "drain_seconds"), ("[[backends", "mrproxy.toml"), ("drain_secs = 3", "drain_secs")],
)
def test_a_broken_configuration_is_refused_with_the_reason_and_nothing_changes(
    gateway: Gateway, engines: tuple[str, str], first_line: str, reason: str
):
    before = generation(gateway)
    with under_load(gateway) as load:
        gateway.config_path.write_text(configuration(engines, COMING, first_line=first_line))
        gateway.reload()
        gateway.wait_for(rf'"event":"reload refused","reason":"[^\n]*{re.escape(reason)}')
        load.wait_for_more(10)
    assert load.failures == []
    assert generation(gateway) == before
    assert (status_with(gateway, LEAVING), status_with(gateway, COMING)) == (200, 401)


def test_a_valid_configuration_is_taken_over_whole_and_no_request_is_lost(gateway: Gateway, engines: tuple[str, str]):
    before = generation(gateway)
    assert (status_with(gateway, LEAVING), status_with(gateway, COMING)) == (200, 401)
    assert status_with(gateway, KEY, "mock-70b") == 404
    with under_load(gateway) as load:
        gateway.config_path.write_text(configuration(engines, KEY, COMING))
        gateway.reload()
        eventually(lambda: status_with(gateway, COMING) == 200 or None, "the new key is not valid")
        assert status_with(gateway, LEAVING) == 401
        eventually(lambda: status_with(gateway, KEY, "mock-70b") == 200 or None, "the new backend does not serve")
        load.wait_for_more(30)
    assert load.failures == []
    eventually(lambda: generation(gateway) == before + 1 or None, "the generation is not told")
    assert {"first", "second"} <= {record.backend for record in gateway.records()}


def test_many_reloads_under_load_lose_no_request(gateway: Gateway, engines: tuple[str, str]):
    with under_load(gateway) as load:
        for number in range(10):
            gateway.config_path.write_text(configuration(engines[number % 2 :], KEY))
            reload_all(gateway)
            load.wait_for_more(5)
    assert load.failures == []


def test_a_backend_that_is_taken_out_finishes_its_streams(gateway: Gateway, engines: tuple[str, str]):
    with gateway.open_openai() as client:
        stream = client.chat.completions.create(**{**CHAT, "max_tokens": 400}, stream=True)
        tokens = bool(next(stream).choices[0].delta.content)
        gateway.config_path.write_text(configuration((), KEY) + backend_table("second", "vllm", engines[1]))
        gateway.reload()
        eventually(lambda: status_with(gateway, KEY, "mock-70b") == 200 or None, "the new backend does not serve")
        tokens += sum(bool(each.choices[0].delta.content) for each in stream)
    assert tokens == 400


def test_a_key_is_made_and_revoked_by_command_while_it_runs(gateway: Gateway):
    where = f"--data-dir={gateway.data_dir}"
    key = run("mrproxy", "key", "create", "--user=eve", "--name=eve", where).strip()
    eventually(lambda: status_with(gateway, key) == 200 or None, "the new key is not valid")
    run("mrproxy", "key", "revoke", "eve", where)
    eventually(lambda: status_with(gateway, key) == 401 or None, "the revoked key is still valid")
    assert key not in gateway.child.output()


def run(*command: str) -> str:
    return subprocess.run(program(*command), check=True, capture_output=True, text=True, timeout=20).stdout
