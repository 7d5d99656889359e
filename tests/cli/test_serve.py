"""Shell. How the commands reach the supervisor and the two planes."""

import os
import signal
import sys
import types

import pytest
from click.testing import CliRunner

from mrproxy.cli import children, main
from mrproxy.cli import serve as serving


@pytest.fixture
def app(monkeypatch):
    """A stand-in for `mrproxy.app` that notes how it is called."""
    calls = []
    module = types.ModuleType("mrproxy.app")
    module.run_worker = lambda *args, **kwargs: calls.append(("worker", args, kwargs))
    module.run_control = lambda *args, **kwargs: calls.append(("control", args, kwargs))
    monkeypatch.setitem(sys.modules, "mrproxy.app", module)
    return calls


def test_worker_hands_on_snapshot_name_and_listener(app, tmp_path):
    path = tmp_path / "s.json"
    CliRunner().invoke(main, ["worker", "--name", "w2", "--listen-fd", "7", "--snapshot", str(path)])
    assert app == [("worker", (path,), {"name": "w2", "listen_fd": 7, "is_shared": False})]


def test_control_hands_on_the_snapshot(app, tmp_path):
    path = tmp_path / "s.json"
    CliRunner().invoke(main, ["control", "--snapshot", str(path), "--shared"])
    assert app == [("control", (path,), {"is_shared": True})]


def test_an_orphan_ends_itself_as_if_by_sigterm(monkeypatch):
    sent = []
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((pid, number)))
    reader, writer = os.pipe()
    os.write(writer, b"still here")
    os.close(writer)
    children.wait_for_orphanage(reader)
    os.close(reader)
    assert sent == [(os.getpid(), signal.SIGTERM)]


def test_serve_loads_again_whenever_the_supervisor_asks(monkeypatch, tmp_path):
    loads = []

    async def fake_serve(self):
        loads.extend([self.load_settings().port, self.load_settings().data_dir])

    monkeypatch.setattr(serving.Supervisor, "serve", fake_serve)
    result = CliRunner().invoke(main, ["serve", "--port", "9", "--data-dir", str(tmp_path)])
    assert result.exit_code == 0
    assert loads == [9, str(tmp_path)]


@pytest.mark.parametrize("url", ["mysql://ada:hush@db/x", "no url", "postgresql://ada:hush@db/", "sqlite://"])
def test_an_address_that_means_no_database_is_refused_before_anything_is_served(monkeypatch, tmp_path, url):
    async def never(self):
        raise AssertionError

    monkeypatch.setattr(serving.Supervisor, "serve", never)
    arguments = ["serve", f"--database-url={url}", f"--data-dir={tmp_path / 'data'}"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert "database_url" in result.output
    assert "hush" not in result.output
    assert not (tmp_path / "data").exists()


def test_without_records_nobody_looks_at_the_address(monkeypatch):
    served = []

    async def fake_serve(self):
        served.append(self.load_settings().database_url)

    monkeypatch.setattr(serving.Supervisor, "serve", fake_serve)
    assert CliRunner().invoke(main, ["serve", "--no-records", "--database-url=no url"]).exit_code == 0
    assert served == ["no url"]
