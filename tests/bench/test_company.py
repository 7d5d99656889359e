"""What keeps a gateway's control process busy does so, and ends with its block."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from bench.children import ChildFailed
from bench.company import keep_busy
from tests.front_door.gateway import KEY, Gateway, backend_table, eventually, key_table, run_gateway, run_mock

pytestmark = pytest.mark.slow


def stored(gateway: Gateway) -> int:
    """Records that are in the database by now."""
    with closing(sqlite3.connect(gateway.data_dir / "mrproxy.db")) as database:
        return int(database.execute("SELECT count(*) FROM records").fetchone()[0])


def test_records_are_taken_over_and_exported_while_the_block_lasts(tmp_path: Path) -> None:
    with run_mock("vllm", tmp_path) as engine:
        config = key_table(KEY, "ada") + backend_table("gpu-1", "vllm", engine)
        with run_gateway(tmp_path, config) as gateway, keep_busy(gateway.url, gateway.data_dir):
            eventually(lambda: stored(gateway) > 100 or None, "no records came")


def test_a_gateway_that_does_not_answer_is_said(tmp_path: Path) -> None:
    with pytest.raises(ChildFailed, match="company ended"), keep_busy("http://127.0.0.1:9", tmp_path):
        pass
