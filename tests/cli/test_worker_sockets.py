"""Shell. The workers' own sockets, for when no control plane answers: `mrproxy backend list` and `drain`."""

import json
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import ClassVar

import pytest
from click.testing import CliRunner

from mrproxy.cli import main
from mrproxy.provision import open_data_directory

BACKEND = {"name": "v", "kind": "vllm", "url": "http://a", "healthy": True, "in_flight": 2, "models": ["m", "n"]}


class Answer(BaseHTTPRequestHandler):
    """A worker: its report, and a note of every command."""

    commands: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.answer(200, json.dumps({"worker": "w1", "backends": [BACKEND]}).encode())

    def do_POST(self) -> None:
        self.commands.append(self.path)
        self.answer(404 if "unknown" in self.path else 200, b"{}")

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *_: object) -> None:
        """Tests are silent."""


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    directory = open_data_directory(str(tmp_path / "d"))
    Answer.commands.clear()
    with socketserver.UnixStreamServer(str(directory.worker_socket("w1")), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield directory.root
        server.shutdown()
        thread.join()


def run(*arguments: object):
    return CliRunner().invoke(main, ["backend", *map(str, arguments)])


def test_the_list_shows_each_backend_of_each_worker(data_dir):
    result = run("list", "--json", "--data-dir", data_dir)
    assert json.loads(result.stdout) == [{"worker": "w1"} | BACKEND]
    assert "these are the workers' views" in result.stderr
    header, row = run("list", "--data-dir", data_dir).stdout.splitlines()
    cells = dict(zip(header.split("\t"), row.split("\t"), strict=True))
    assert (cells["name"], cells["healthy"], cells["models"], cells["breaker"]) == ("v", "yes", "m, n", "-")


def test_drain_and_undo_are_commands_to_the_worker(data_dir):
    assert run("drain", "v/1", "--data-dir", data_dir).stdout == "v/1: drained\n"
    assert run("drain", "v/1", "--undo", "--data-dir", data_dir).stdout == "v/1: undrained\n"
    assert Answer.commands == ["/backends/v%2F1/drain", "/backends/v%2F1/undrain"]


def test_a_refusal_is_one_line(data_dir):
    result = run("drain", "unknown", "--data-dir", data_dir)
    assert result.exit_code == 1
    assert "404" in result.stderr


def test_without_a_worker_it_says_what_to_do(tmp_path):
    directory = open_data_directory(str(tmp_path))
    result = run("list", "--data-dir", directory.root)
    assert "start one with `mrproxy serve`" in result.stderr


def test_a_dead_workers_socket_is_an_error_and_no_traceback(tmp_path):
    directory = open_data_directory(str(tmp_path))
    directory.worker_socket("w1").touch()
    result = run("list", "--data-dir", directory.root)
    assert result.exit_code == 3
    assert "worker-w1.sock" in result.stderr
