"""A database that has its tables: without the migrations, which have tests of their own and take longer."""

import sqlite3
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from functools import cache
from pathlib import Path

from sqlalchemy import create_mock_engine

from mrproxy.storage.bridge import open_bridge
from mrproxy.storage.database import Database, open_database
from mrproxy.storage.schema import metadata
from mrproxy.storage.urls import Location


@cache
def statements(url: str) -> str:
    """Those that make the tables, for the kind of database that `url` names."""
    made: list[str] = []
    engine = create_mock_engine(url, lambda each, *_, **__: made.append(str(each.compile(dialect=engine.dialect))))
    metadata.create_all(engine, checkfirst=False)
    return ";\n".join(made)


@cache
def content_of_a_file() -> bytes:
    """Of SQLite's, as a gateway leaves it."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "made.db"
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(statements("sqlite://"))
        return file.read_bytes()


def make_file(location: Location) -> None:
    assert location.file is not None
    location.file.touch(mode=0o600, exist_ok=False)
    location.file.write_bytes(content_of_a_file())


@asynccontextmanager
async def opened(location: Location) -> AsyncIterator[Database]:
    """With a bridge of its own."""
    async with open_bridge() as bridge, open_database(location, bridge) as database:
        yield database


@asynccontextmanager
async def opened_with_tables(location: Location) -> AsyncIterator[Database]:
    """A file that is not there yet."""
    make_file(location)
    async with opened(location) as database:
        yield database
