"""Whatever the database does, requests are served; what they were is in its tables once it is well again."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

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
        assert warnings(gateway) == []
        assert stored(gateway) == 5


def test_a_url_that_is_none_leaves_a_gateway_without_a_database(config: str, tmp_path: Path) -> None:
    with run_gateway(tmp_path, config, options=["--database-url=mysql://ada:hush@db/x"]) as gateway:
        assert chat(gateway) == 200
        assert warnings(gateway) == ["there is no database"]
        assert "hush" not in gateway.child.output()


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
