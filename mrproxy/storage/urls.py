"""Pure. Where the database is: `database_url` as people write it, and as the drivers want it.

    (empty)                                     the embedded default: SQLite in data_dir/mrproxy.db
    sqlite:///relative.db  sqlite:////abs.db    another file
    postgresql://user:password@host:5432/name   PostgreSQL; also postgres://; `?sslmode=require&connect_timeout=3`
    postgresql://user@/name?host=/run/postgresql    by a Unix socket

Anything else is refused with a reason that does not repeat the URL: it may hold a password.
Read next: `database.py`, which opens it.
"""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from mrproxy.config import ConfigError

FILE_NAME = "mrproxy.db"
FORMS = "sqlite:///FILE or postgresql://USER:PASSWORD@HOST:PORT/NAME"
CONNECT_SECONDS = 5.0

# libpq's names of what asyncpg takes (asyncpg 0.31 documentation of `connect`), and the parameters that we hand on.
PARAMETERS = {"host", "port", "sslmode", "ssl", "connect_timeout", "application_name"}
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


@dataclass(frozen=True, slots=True)
class Location:
    """A database of one of the two kinds. `file` is None for PostgreSQL; `is_embedded`: nobody named another one."""

    url: URL
    file: Path | None
    is_embedded: bool = False

    @property
    def name(self) -> str:
        """For people and logs, without a password."""
        return str(self.file) if self.file is not None else self.url.render_as_string(hide_password=True)


def locate(database_url: str, data_dir: Path) -> Location:
    """What the setting means. Raises ConfigError."""
    if "\0" in database_url:
        raise ConfigError("database_url has a NUL in it")
    if not database_url:
        return sqlite_location(data_dir / FILE_NAME, is_embedded=True)
    try:
        url = make_url(database_url)
    except (ArgumentError, ValueError):  # chained, it would carry the URL into a traceback
        raise ConfigError(f"database_url is not a URL of the form {FORMS}") from None
    match url.drivername:
        case "sqlite" | "sqlite+aiosqlite":
            if not url.database or url.database.startswith((":memory:", "file:")) or url.query or url.host:
                raise ConfigError("database_url: SQLite needs a file, sqlite:///relative.db or sqlite:////absolute.db")
            return sqlite_location(Path(url.database), is_embedded=False)
        case "postgresql" | "postgres" | "postgresql+asyncpg":
            return postgres_location(url)
        case other:
            raise ConfigError(f"database_url: {other!r} is not supported; it is {FORMS}")


def sqlite_location(file: Path, *, is_embedded: bool) -> Location:
    file = file.absolute()
    return Location(URL.create("sqlite+aiosqlite", database=str(file)), file, is_embedded)


def postgres_location(url: URL) -> Location:
    if not url.database:
        raise ConfigError("database_url: name the database, postgresql://…/NAME")
    unknown = url.query.keys() - PARAMETERS
    if unknown:
        known = ", ".join(sorted(PARAMETERS))
        raise ConfigError(f"database_url: unknown parameter {min(unknown)!r}; known are {known}")
    if ssl_mode(url) not in (None, *SSL_MODES):
        raise ConfigError(f"database_url: sslmode is one of {', '.join(SSL_MODES)}")
    connect_seconds(url)
    return Location(url.set(drivername="postgresql+asyncpg"), None)


def asyncpg_url(url: URL) -> URL:
    """Without the parameters that are said otherwise (`connect_arguments`)."""
    return url.difference_update_query(["sslmode", "ssl", "connect_timeout", "application_name"])


def connect_arguments(url: URL) -> dict[str, object]:
    """For `asyncpg.connect`: no planner surprises, UTC, and a server that does not answer is given up."""
    arguments: dict[str, object] = {
        "timeout": connect_seconds(url),
        "server_settings": {
            "application_name": parameter(url, "application_name") or "mrproxy",
            "timezone": "UTC",
            "jit": "off",  # asyncpg's first look at a type takes seconds with it (asyncpg FAQ)
        },
    }
    if (mode := ssl_mode(url)) is not None:
        arguments["ssl"] = mode
    return arguments


def connect_seconds(url: URL) -> float:
    text = parameter(url, "connect_timeout")
    if text is None:
        return CONNECT_SECONDS
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise ConfigError("database_url: connect_timeout is a number of seconds")
    return float(text)


def ssl_mode(url: URL) -> str | None:
    return parameter(url, "sslmode") or parameter(url, "ssl")


def parameter(url: URL, name: str) -> str | None:
    value = url.query.get(name)
    return value if isinstance(value, str) or value is None else value[-1]
