"""Shell. `python -m bench.ingest`: how many records a second go from the journal into a database.

Writes a journal with the records that a busy gateway would leave, ingests it whole, and checks that all of it arrived.
SQLite in a temporary directory; `--postgres` starts a server of its own; `--database-url` names another database, which
gets the records for good.
"""

import random
import resource
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import click
import trio
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from bench.postgres import run_postgres
from mrproxy.link.journal import JournalRecord, Writer
from mrproxy.storage.bridge import open_bridge
from mrproxy.storage.database import open_database
from mrproxy.storage.ingest import Ingestion
from mrproxy.storage.migrate import migrate
from mrproxy.storage.schema import records
from mrproxy.storage.urls import locate
from mrproxy.telemetry.log import open_log

SEGMENT_BYTES = 64 << 20
NOW_UTC = 1_790_000_000.0


def example(chance: random.Random, number: int) -> JournalRecord:
    """Users, models and moments as spread as in earnest: that is what indexes cost."""
    user, total_seconds = chance.randrange(500), chance.expovariate(0.2)
    return JournalRecord(
        request_id=f"{chance.getrandbits(128):032x}",
        worker="w1",
        started_utc=NOW_UTC + number / 300 - total_seconds,
        key_id=f"k_{user * 7919 % 1000:012x}",
        user=f"user-{user:04}",
        group=("student", "staff", "faculty")[user % 3],
        model=f"org/model-{chance.randrange(20)}",
        backend=f"gpu-{chance.randrange(16):02}",
        dialect=("openai", "ollama", "anthropic")[chance.randrange(3)],
        operation="chat",
        lane="straight",
        stream=chance.random() < 0.8,
        status=200 if chance.random() < 0.97 else 429,
        code="",
        attempts=1,
        queue_seconds=chance.random() / 10,
        first_byte_seconds=chance.random(),
        total_seconds=total_seconds,
        prompt_tokens=chance.randrange(4000),
        completion_tokens=chance.randrange(1000),
        usage_state="exact",
        bytes_in=chance.randrange(20_000),
        bytes_out=chance.randrange(100_000),
        client_address=f"10.0.{user // 250}.{user % 250}",
    )


def write_journal(directory: Path, count: int) -> None:
    chance = random.Random(0)
    writer = Writer(directory, "w1", SEGMENT_BYTES)
    for number in range(count):
        writer.append(example(chance, number))
    writer.close()


async def ingest(data_dir: Path, database_url: str, count: int) -> tuple[float, float]:
    """Seconds it took, and of this process's CPU. Raises ClickException if not all arrived."""
    log = open_log(2, lambda: NOW_UTC, "bench")
    async with open_bridge() as bridge, open_database(locate(database_url, data_dir), bridge) as database:
        await migrate(database)
        ingestion = Ingestion(data_dir / "journal", database, lambda: NOW_UTC, log, trio.lowlevel.checkpoint)
        before = await database.read(count_records)
        started_at, used = time.perf_counter(), cpu_seconds()
        await ingestion.ingest_to_end()
        seconds, used = time.perf_counter() - started_at, cpu_seconds() - used
        arrived = await database.read(count_records) - before
        if arrived != count:
            raise click.ClickException(f"{arrived} of {count} records arrived")
    return seconds, used


async def count_records(connection: AsyncConnection) -> int:
    return (await connection.execute(select(func.count()).select_from(records))).scalar_one()


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--records", "count", default=100_000, show_default=True, help="How many records.")
@click.option("--database-url", default="", help="Another database than a new SQLite file.")
@click.option("--postgres", is_flag=True, help="A PostgreSQL server of this measurement's own.")
def main(count: int, database_url: str, postgres: bool) -> None:
    """Records per second from the journal into a database."""
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="mrproxy-ingest-"))
        if postgres:
            database_url = stack.enter_context(run_postgres()).create_database()
        write_journal(Path(directory) / "journal", count)
        seconds, used = trio.run(ingest, Path(directory), database_url, count)
    kind = "PostgreSQL" if database_url else "SQLite"
    each = used / count * 1e6
    click.echo(f"{kind}: {count} records in {seconds:.2f} s, {count / seconds:.0f}/s, {each:.0f} µs CPU each")


if __name__ == "__main__":
    main()
