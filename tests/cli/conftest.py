"""Commands run in this process, against an API that a test has scripted."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mrproxy.cli import main
from mrproxy.provision import open_data_directory
from tests.fakes.api_server import FakeApi, run_api

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine has set for its own gateway."""
    for name in ("MRPROXY_URL", "MRPROXY_KEY", "MRPROXY_KEY_FILE", "MRPROXY_DATA_DIR", "MRPROXY_CONFIG"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[FakeApi]:
    """The gateway of `tmp_path / "d"`."""
    directory = open_data_directory(str(tmp_path / "d"))
    with run_api(FakeApi({"GET /status": {"storage": {}}}), directory.control_socket) as running:
        yield running


@pytest.fixture
def there() -> Iterator[FakeApi]:
    """A gateway somewhere else."""
    with run_api(FakeApi()) as running:
        yield running


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """`run("user", "list", …)` here; with `url=` somewhere else."""

    def invoke(*words: str, url: str = "", text: str | None = None) -> Result:
        where = [f"--url={url}"] if url else [f"--data-dir={tmp_path / 'd'}"]
        return CliRunner().invoke(main, [*words[:2], *where, *words[2:]], input=text)

    return invoke
