"""Shell. Backups of PostgreSQL, by its own programs: pg_dump, pg_restore and psql.

1. The password goes by the environment: arguments are there for everybody to read.
2. The whole database is dumped, so that tables of a newer version are not forgotten; mrproxy wants one of its own.
3. A restore is one transaction. pg_restore writes a script and psql runs it between BEGIN and a COMMIT that is said
   only when the script was whole: `psql --single-transaction` would also commit half of one.

Source: https://www.postgresql.org/docs/15/app-pgrestore.html, app-psql.html, libpq-envars.html (2026-02).
Read next: `backup.py`, which calls this.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from sqlalchemy import URL

from mrproxy.storage.failures import DatabaseError
from mrproxy.storage.schema import metadata
from mrproxy.storage.urls import connect_seconds, parameter, ssl_mode

DEBIAN = Path("/usr/lib/postgresql")


class ToolFailed(DatabaseError):
    """One of the programs is missing, or refused; its own last words say why."""


def dump(url: URL, target: Path) -> None:
    """Into pg_restore's own format, which is compressed. Raises ToolFailed."""
    with tempfile.TemporaryFile() as words:
        arguments = ("--format=custom", "--no-owner", "--no-privileges", f"--file={target}")
        check(start(url, "pg_dump", *arguments, words=words), "pg_dump", words)


def load(url: URL, source: Path) -> None:
    """Replace what the dump has, and all tables of ours; whole or not at all. Raises ToolFailed."""
    with tempfile.TemporaryFile() as words, tempfile.TemporaryFile() as complaints:
        arguments = ("--clean", "--if-exists", "--no-owner", "--no-privileges", "--file=-", str(source))
        script = start(url, "pg_restore", *arguments, words=words, stdout=subprocess.PIPE)
        psql = start(
            url,
            "psql",
            *("--no-psqlrc", "--quiet", "--output=/dev/null", "--set=ON_ERROR_STOP=1"),
            words=complaints,
            stdin=subprocess.PIPE,
        )
        is_whole = pour(script, psql)
        if not is_whole:
            psql.wait()
            check(script, "pg_restore", words)
        check(psql, "psql", complaints)


def pour(script: "subprocess.Popen[bytes]", psql: "subprocess.Popen[bytes]") -> bool:
    """All of the script into one transaction, which is committed if pg_restore was satisfied; whether it was."""
    assert script.stdout is not None
    assert psql.stdin is not None
    is_whole = True
    try:
        with script.stdout, psql.stdin:
            psql.stdin.write(f"BEGIN;\n{drop_all()}\n".encode())
            shutil.copyfileobj(script.stdout, psql.stdin)
            is_whole = script.wait() == 0
            if is_whole:
                psql.stdin.write(b"COMMIT;\n")
    except BrokenPipeError:  # psql stopped at an error, and says it
        script.kill()
        script.wait()
    return is_whole


def drop_all() -> str:
    """A dump of an older version knows nothing of tables that came later, and they would be in a migration's way."""
    names = [table.name for table in reversed(metadata.sorted_tables)]
    return "\n".join(f'DROP TABLE IF EXISTS "{name}" CASCADE;' for name in (*names, "alembic_version"))


def start(
    url: URL,
    program: str,
    *arguments: str,
    words: IO[bytes],
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.DEVNULL,
) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [find(program), *arguments], env=os.environ | environment(url), stdin=stdin, stdout=stdout, stderr=words
    )


def check(process: "subprocess.Popen[bytes]", program: str, words: IO[bytes]) -> None:
    if process.wait() == 0:
        return
    words.seek(0)
    lines = [line for line in words.read().decode(errors="replace").splitlines() if line.strip()]
    raise ToolFailed(lines[-1] if lines else f"{program} ended with status {process.returncode}")


def find(program: str) -> str:
    """On the PATH, or Debian's newest."""
    debian = [each for each in DEBIAN.glob(f"*/bin/{program}") if each.parts[-3].isdigit()]
    found = shutil.which(program) or max(debian, key=lambda each: int(each.parts[-3]), default=None)
    if found is None:
        raise ToolFailed(f"{program} is not installed (Debian: apt-get install postgresql-client)")
    return str(found)


def environment(url: URL) -> Mapping[str, str]:
    """libpq's variables for this database; what the URL leaves open is left to libpq, as it is to asyncpg."""
    host = url.host or parameter(url, "host")
    port = str(url.port) if url.port is not None else parameter(url, "port")
    mode = ssl_mode(url)
    values = {
        "PGHOST": host,
        "PGPORT": port,
        "PGUSER": url.username,
        "PGPASSWORD": None if url.password is None else str(url.password),
        "PGDATABASE": url.database,
        "PGSSLMODE": mode,
        "PGCONNECT_TIMEOUT": f"{connect_seconds(url):.0f}",
        "PGAPPNAME": "mrproxy",
        "LC_ALL": "C",
    }
    return {name: value for name, value in values.items() if value is not None}
