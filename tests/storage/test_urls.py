"""`database_url`: what is taken, what is refused, and that no refusal repeats a password."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.config import ConfigError
from mrproxy.storage.urls import asyncpg_url, connect_arguments, locate

DATA = Path("/data")


def test_nothing_is_the_embedded_database():
    location = locate("", DATA)
    assert location.file == DATA / "mrproxy.db"
    assert location.is_embedded
    assert location.name == "/data/mrproxy.db"


@pytest.mark.parametrize(
    ("text", "file"),
    [
        ("sqlite:////srv/a.db", Path("/srv/a.db")),
        ("sqlite+aiosqlite:////srv/a.db", Path("/srv/a.db")),
        ("sqlite:///a.db", Path.cwd() / "a.db"),
    ],
)
def test_another_file(text, file):
    location = locate(text, DATA)
    assert location.file == file
    assert not location.is_embedded


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+asyncpg"])
def test_postgresql_by_any_of_its_names(scheme):
    location = locate(f"{scheme}://ada:s%20e@db.example:5433/gateway", DATA)
    assert location.file is None
    assert location.url.drivername == "postgresql+asyncpg"
    assert (location.url.username, location.url.password, location.url.port) == ("ada", "s e", 5433)
    assert location.name == "postgresql+asyncpg://ada:***@db.example:5433/gateway"


def test_parameters_of_libpq_become_those_of_the_driver():
    url = locate(
        "postgresql://a@/gateway?host=/run/postgresql&sslmode=require&connect_timeout=3&application_name=x", DATA
    ).url
    assert asyncpg_url(url).query == {"host": "/run/postgresql"}
    arguments = connect_arguments(url)
    assert (arguments["ssl"], arguments["timeout"]) == ("require", 3.0)
    assert arguments["server_settings"]["application_name"] == "x"


def test_without_parameters_the_driver_decides_on_tls_and_nobody_waits_for_ever():
    arguments = connect_arguments(locate("postgresql://a@b/c", DATA).url)
    assert "ssl" not in arguments
    assert arguments["timeout"] == 5.0
    assert arguments["server_settings"]["application_name"] == "mrproxy"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("mrproxy.db", "not a URL"),
        ("sqlite:///a\0b", "NUL"),
        ("sqlite://", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
        ("sqlite:///file:x?mode=memory&uri=true", "needs a file"),
        ("sqlite://host/x.db", "needs a file"),
        ("mysql://root:hush@localhost/x", "'mysql' is not supported"),
        ("postgresql+psycopg2://root:hush@localhost/x", "not supported"),
        ("postgresql://root:hush@localhost", "name the database"),
        ("postgresql://root:hush@localhost/x?sslmod=require", "unknown parameter 'sslmod'"),
        ("postgresql://root:hush@localhost/x?sslmode=maybe", "sslmode is one of"),
        ("postgresql://root:hush@localhost/x?connect_timeout=soon", "connect_timeout is a number"),
        ("postgresql://root:hush@localhost:port/x", "not a URL"),
    ],
)
def test_what_is_refused_and_why(text, reason):
    with pytest.raises(ConfigError, match=reason) as caught:
        locate(text, DATA)
    assert "hush" not in str(caught.value)


@given(st.text(max_size=40), st.sampled_from(["", "sqlite:", "sqlite://", "postgresql://", "postgresql://a:b@c/"]))
def test_any_text_is_a_location_or_refused(text, prefix):
    try:
        location = locate(prefix + text, DATA)
    except ConfigError:
        return
    assert location.url.drivername in ("sqlite+aiosqlite", "postgresql+asyncpg")
