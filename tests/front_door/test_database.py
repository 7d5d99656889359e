"""Whatever the database does, requests are served; what they were is in its tables once it is well again."""

import json
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from mrproxy.link.capture import capture_segments
from mrproxy.storage.migrate import migrate
from tests.fakes.postgres import PostgresServer, postgres_server, postgres_url
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
from tests.front_door.test_chaos import read_table, wait_until_stored, with_database

__all__ = ["postgres_server", "postgres_url"]

pytestmark = pytest.mark.slow

CHAT = {"model": "mock-8b", "messages": MESSAGES, "max_tokens": 5}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with run_mock("vllm", tmp_path_factory.mktemp("engine"), "--model=mock-8b") as engine:
        yield backend_table("mock-vllm", "vllm", engine) + key_table(KEY, "ada")


def chat(gateway: Gateway) -> int:
    return gateway.ask("POST", "/v1/chat/completions", CHAT).status


def warnings(gateway: Gateway) -> list[str]:
    answer = gateway.ask("GET", "/readyz")
    assert answer.status == 200
    return answer.json()["warnings"]


def is_told(gateway: Gateway, warning: str) -> bool | None:
    return warning in warnings(gateway) or None


def stored(gateway: Gateway, database_url: str = "") -> int:
    table = trio.run(with_database, database_url, gateway.data_dir, read_table)
    assert set(table.ids.values()) <= {1}
    assert table.counted == table.ids.total()
    return table.counted


def test_a_file_that_is_no_database_is_a_warning_until_somebody_mends_it(config: str, tmp_path: Path) -> None:
    file = tmp_path / "data" / "mrproxy.db"
    file.parent.mkdir()
    file.write_bytes(b"not a database" * 1000)
    with run_gateway(tmp_path, config) as gateway:
        assert [chat(gateway) for _ in range(5)] == [200] * 5
        eventually(lambda: is_told(gateway, "the database is corrupt"), "nobody says that the database is damaged")
        assert "file is not a database" in gateway.child.output()
        file.unlink()
        wait_until_stored(gateway)
        # Who publishes tries again in a time of its own.
        eventually(lambda: warnings(gateway) == [] or None, "a warning stays")
        assert stored(gateway) == 5


def test_a_server_that_nobody_reaches_is_a_warning_from_the_start(config: str, tmp_path: Path) -> None:
    with run_gateway(tmp_path, config, options=["--database-url=postgresql://ada:hush@127.0.0.1:1/x"]) as gateway:
        assert chat(gateway) == 200
        eventually(lambda: is_told(gateway, "the database is unavailable"), "nobody says that it is unavailable")
        assert "hush" not in gateway.child.output()


def page_damaged(file: Path) -> None:
    """Every page behind the first, which says that it is a database."""
    content = bytearray(file.read_bytes())
    page_bytes = int.from_bytes(content[16:18], "big")
    for start in range(page_bytes, len(content), page_bytes):
        content[start : start + 64] = os.urandom(64)
    file.write_bytes(content)


def test_a_damaged_file_is_a_warning_and_what_comes_meanwhile_is_taken_over_by_the_next_one(
    config: str, tmp_path: Path
) -> None:
    with run_gateway(tmp_path, config) as gateway:
        assert [chat(gateway) for _ in range(5)] == [200] * 5
        wait_until_stored(gateway)
    file = gateway.data_dir / "mrproxy.db"
    page_damaged(file)
    with run_gateway(tmp_path, config) as gateway:
        assert [chat(gateway) for _ in range(5)] == [200] * 5
        eventually(lambda: is_told(gateway, "the database is corrupt"), "nobody says that the database is damaged")
        assert "malformed" in gateway.child.output()
        assert "Traceback" not in gateway.child.output()
        file.rename(file.with_suffix(".damaged"))
        wait_until_stored(gateway)
        assert stored(gateway) == 10, "the journal has them all, and the new file knows nothing of the old one"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 32 MiB, where this machine lets us have one."""
    place = tmp_path / "data"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("only root may mount a small disk")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def test_a_full_disk_refuses_nobody_and_what_is_lost_is_counted_and_said(
    config: str, tmp_path: Path, small_disk: Path
) -> None:
    options = ["--capture-bodies", "--no-access-log"]
    with run_gateway(tmp_path, config, options=options) as gateway:
        assert chat(gateway) == 200
        wait_until_stored(gateway)
        filler = small_disk / "filler"
        fill_up(filler)
        assert [chat(gateway) for _ in range(60)] == [200] * 60
        said = eventually(lambda: losses(gateway), "nobody says that records are lost")
        gateway.wait_for("the disk does not take everything")
        filler.unlink()
        assert [chat(gateway) for _ in range(5)] == [200] * 5
        wait_until_stored(gateway)
        assert losses(gateway) == said, "what is lost stays said"
        assert "Traceback" not in gateway.child.output()
        lost = int(said[0].split()[0])
        assert 0 < lost <= 60
        assert stored(gateway) == 66 - lost


def fill_up(file: Path) -> None:
    with file.open("wb", buffering=0) as taken, suppress(OSError):
        for size in (65_536, 4096, 1):
            with suppress(OSError):
                while True:
                    taken.write(b"x" * size)


def losses(gateway: Gateway) -> list[str] | None:
    found = [warning for warning in warnings(gateway) if "the disk did not take them" in warning]
    return found if len(found) == 2 else None


def test_a_database_that_another_process_locks_is_waited_for(config: str, tmp_path: Path) -> None:
    with run_gateway(tmp_path, config) as gateway:
        wait_until_stored(gateway)
        with sqlite3.connect(gateway.data_dir / "mrproxy.db") as other:
            other.execute("BEGIN IMMEDIATE")
            assert [chat(gateway) for _ in range(5)] == [200] * 5
            eventually(lambda: is_told(gateway, "the database is unavailable"), "nobody says that it is locked")
            other.rollback()
        other.close()
        wait_until_stored(gateway)
        assert stored(gateway) == 5


def test_a_regular_end_leaves_nothing_in_the_journal_that_is_not_stored(config: str, tmp_path: Path) -> None:
    with run_gateway(tmp_path, config) as gateway:
        assert [chat(gateway) for _ in range(5)] == [200] * 5
    assert stored(gateway) == 5


def test_nobody_notices_that_the_database_server_was_away(
    config: str, tmp_path: Path, postgres_server: PostgresServer, postgres_url: str
) -> None:
    trio.run(with_database, postgres_url, tmp_path, migrate)
    with run_gateway(tmp_path, config, options=[f"--database-url={postgres_url}"]) as gateway:
        with under_load(gateway) as load:
            load.wait_for_more(20)
            postgres_server.stop("immediate")
            eventually(lambda: is_told(gateway, "the database is unavailable"), "nobody says that it is away")
            load.wait_for_more(100)
            postgres_server.start()
            load.wait_for_more(20)
        assert load.failures == []
        wait_until_stored(gateway)
        assert stored(gateway, postgres_url) == len(gateway.records()) >= load.answered
    assert "correct horse" not in gateway.child.output()


def test_what_was_asked_and_answered_is_shown_with_its_record_and_gone_from_disk(config: str, tmp_path: Path) -> None:
    with run_gateway(tmp_path, config, options=["--capture-bodies"]) as gateway:
        request_id = gateway.ask("POST", "/v1/chat/completions", CHAT).headers["x-request-id"]
        found = eventually(lambda: details(gateway, request_id), "the bodies do not come into the database")
        assert json.loads(found["bodies"]["request"]["text"]) == CHAT
        answer = json.loads(found["bodies"]["answer"]["text"])
        assert answer["usage"]["completion_tokens"] == found["record"]["completion_tokens"] == 5
        with owner(gateway) as client:
            summed = client.get("/admin/api/v1/usage?by=user").json()
        assert [(each["name"], each["completion_tokens"]) for each in summed["items"]] == [("ada", 5)]
    assert [path.stat().st_size for path in capture_segments(gateway.data_dir / "journal")] in ([], [0])


def owner(gateway: Gateway) -> httpx.Client:
    """Who owns the data directory, and is asked for no key."""
    transport = httpx.HTTPTransport(uds=str(gateway.data_dir / "run" / "control.sock"))
    return httpx.Client(transport=transport, base_url="http://control")


def details(gateway: Gateway, request_id: str) -> dict[str, Any] | None:
    with owner(gateway) as client:
        answer = client.get(f"/admin/api/v1/records/{request_id}")
    found: dict[str, Any] = answer.json()
    return found if answer.status_code == 200 and found["bodies"] is not None else None
