"""Shell. A PostgreSQL server of one's own, from the binaries of this machine: for measurements and for tests.

It has a directory and a port to itself and is gone at the end. PostgreSQL refuses to run as root, so for root
everything is done as `postgres` or `nobody`.
"""

import os
import pwd
import select
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from bench.children import free_port

DEADLINE_SECONDS = 60
PASSWORD = "correct horse"  # a blank: URLs must be quoted
USER = "mrproxy"
# A crash of the machine may take everything; a crash of the server must not, so commits are left as they are.
OPTIONS = "-c fsync=off -c full_page_writes=off -c shared_buffers=16MB -c max_connections=40 -c autovacuum=off"
CLIENT = {"PATH": os.defpath, "LC_ALL": "C", "PGSSLMODE": "disable", "PGGSSENCMODE": "disable"}


def find_binaries() -> Path | None:
    """The directory of `initdb` and `pg_ctl`: the newest of Debian's, or one on the PATH."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    on_path = shutil.which("initdb")
    for each in (*reversed(debian), *([Path(on_path).parent] if on_path else [])):
        if (each / "initdb").exists() and (each / "pg_ctl").exists():
            return each
    return None


def unprivileged() -> dict[str, Any]:
    """Arguments for `subprocess`: who runs the server."""
    if os.getuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": ()}
    raise RuntimeError("no user for PostgreSQL, which refuses root")


@dataclass
class PostgresServer:
    """Runs on a port of its own and in a directory of its own, until `remove`."""

    binaries: Path
    root: Path
    port: int
    runner: dict[str, Any] = field(default_factory=unprivileged)
    _numbers: "count[int]" = field(default_factory=count)

    def create(self) -> None:
        if self.runner:
            os.chown(self.root, self.runner["user"], self.runner["group"])
        password_file = self.root / "password"
        password_file.write_text(PASSWORD)
        password_file.chmod(0o644)
        self._call("initdb", f"--username={USER}", f"--pwfile={password_file}", "--auth=scram-sha-256", "--no-sync")

    def start(self) -> None:
        options = f"{OPTIONS} -c port={self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.root}"
        self._call("pg_ctl", "start", "--wait", f"--log={self.root / 'log'}", f"--options={options}")

    def stop(self, mode: str = "fast") -> None:
        """`fast` says goodbye to its clients, `immediate` recovers at the next start."""
        self._call("pg_ctl", "stop", "--wait", f"--mode={mode}")

    def kill(self) -> None:
        """`kill -9` of the server and of all that it started."""
        for pid in self._processes():
            end(pid)
        # Where nobody reaps orphans the number stays taken, and a new server would respect the old one's locks.
        (self.root / "data" / "postmaster.pid").unlink()
        (self.root / f".s.PGSQL.{self.port}.lock").unlink()

    def freeze(self) -> None:
        """It stops answering, and hangs up on nobody; until `thaw`."""
        for pid in self._processes():
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        for pid in self._processes():
            os.kill(pid, signal.SIGCONT)

    def is_running(self) -> bool:
        """As `pg_ctl status` says, but without a program, and of one that nobody reaps it is not true."""
        try:
            state = Path(f"/proc/{self._pid()}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return False
        return state not in "ZX"

    def create_database(self) -> str:
        """A new, empty database; its URL."""
        name = f"test_{next(self._numbers)}"
        self.sql(f"CREATE DATABASE {name} TEMPLATE template0")
        return self.url(name)

    def drop_database(self, url: str) -> None:
        self.sql(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")

    def url(self, name: str, password: str = PASSWORD) -> str:
        return f"postgresql://{USER}:{password.replace(' ', '%20')}@127.0.0.1:{self.port}/{name}"

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Run one statement; unaligned rows."""
        done = subprocess.run(
            [*self.psql(self.url(database)), "-c", statement],
            env=CLIENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DEADLINE_SECONDS,
        )
        return self._checked("psql", done.returncode, done.stdout)

    def psql(self, url: str) -> list[str | Path]:
        """A command, to be run with the environment `CLIENT`, by anybody: it logs in by the password."""
        return [self.binaries / "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", url]

    def remove(self) -> None:
        if self.is_running():
            self.stop("immediate")
        shutil.rmtree(self.root)

    def _processes(self) -> list[int]:
        """The server's own first."""
        pid = self._pid()
        return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]

    def _pid(self) -> int:
        """Raises FileNotFoundError once it was stopped."""
        return int((self.root / "data" / "postmaster.pid").read_text().split()[0])

    def _call(self, program: str, *arguments: str) -> str:
        # Into a file, not a pipe: the server inherits it, and a pipe would stay open for as long as it runs.
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(
                [self.binaries / program, *arguments],
                cwd=self.root,
                env={"PATH": os.defpath, "LC_ALL": "C", "PGDATA": str(self.root / "data")},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=DEADLINE_SECONDS,
                **self.runner,
            )
            output.seek(0)
            return self._checked(program, done.returncode, output.read())

    def _checked(self, program: str, status: int, output: str) -> str:
        if status != 0:
            log = self.root / "log"
            raise RuntimeError(f"{program}: {output}{log.read_text() if log.exists() else ''}")
        return output.strip()


def end(pid: int) -> None:
    """Kill a process and wait until it is dead, reaped or not."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(process, signal.SIGKILL)
        select.select([process], [], [], DEADLINE_SECONDS)
    except ProcessLookupError:
        pass
    finally:
        os.close(process)


@contextmanager
def run_postgres() -> Iterator[PostgresServer]:
    """Running. Raises FileNotFoundError where PostgreSQL is not installed."""
    binaries = find_binaries()
    if binaries is None:
        raise FileNotFoundError("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    # Not below a caller's own directory: that may be closed to other users, and the path of a Unix socket is short.
    root = Path(tempfile.mkdtemp(prefix="mrproxy-postgres-"))
    server = PostgresServer(binaries, root, free_port())
    try:
        server.create()
        server.start()
        yield server
    finally:
        server.remove()
