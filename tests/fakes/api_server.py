"""A gateway's API that answers what the test says, on a Unix socket or a port, in threads of its own.

An answer is a JSON value, or an `Answer` for another status, other headers, or bytes as they are. A list of answers is
given one after the other. `asked` has every request.
"""

import json
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

PREFIX = "/admin/api/v1"


@dataclass(frozen=True)
class Answer:
    """`hang_up`: nothing is answered. `cut`: so many bytes of the body are sent, and then no more."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    hang_up: bool = False
    cut: int | None = None


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    query: dict[str, str]
    body: Any
    headers: dict[str, str]


@dataclass
class FakeApi:
    """`answers` maps `GET /users/ada`, without the prefix, to what is answered; what is not there is a 404."""

    answers: dict[str, Any] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    url: str = ""

    def answer(self, request: Asked) -> Answer:
        found = self.answers.get(f"{request.method} {request.path.removeprefix(PREFIX)}")
        if isinstance(found, list):
            found = found.pop(0)
        if found is None:
            return problem(404, "not-found", "There is nothing here", f"There is no {request.path}.")
        return found if isinstance(found, Answer) else Answer(body=found)

    def bodies(self, method: str) -> list[Any]:
        return [each.body for each in self.asked if each.method == method]

    def targets(self) -> list[str]:
        return [f"{each.method} {each.path.removeprefix(PREFIX)}" for each in self.asked]


def problem(status: int, code: str, title: str, detail: str = "", **more: Any) -> Answer:
    body = {"type": f"urn:mrproxy:problem:{code}", "title": title, "status": status, "detail": detail, **more}
    return Answer(status, body, {"Content-Type": "application/problem+json"})


def page(*items: Any, cursor: str | None = None) -> dict[str, Any]:
    return {"items": list(items), "next_cursor": cursor}


@contextmanager
def run_api(
    api: FakeApi, socket_path: Path | None = None, certificate: tuple[Path, Path] | None = None
) -> Iterator[FakeApi]:
    """On this Unix socket; otherwise on a free port, with TLS if there is a certificate, and `url` says where."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            content = self.rfile.read(length)
            parts = urlsplit(self.path)
            names = {name.lower(): value for name, value in self.headers.items()}
            body = json.loads(content) if content else None
            asked = Asked(self.command, unquote(parts.path), dict(parse_qsl(parts.query)), body, names)
            api.asked.append(asked)
            self.respond(api.answer(asked))

        do_GET = do_POST = do_PATCH = do_DELETE = handle_one

        def respond(self, answer: Answer) -> None:
            self.close_connection = True
            if answer.hang_up:
                return
            body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
            body = b"" if answer.status == 204 else body
            self.send_response(answer.status)
            for name, value in ({"Content-Type": "application/json"} | answer.headers).items():
                self.send_header(name, value)
            if answer.status != 204:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: answer.cut])

        def handle(self) -> None:
            with suppress(OSError):  # a client that does not trust us leaves within the handshake
                super().handle()

        def address_string(self) -> str:
            return "fake"

        def log_message(self, *_: object) -> None:
            """Tests are silent."""

    server: socketserver.BaseServer
    if socket_path is not None:
        server = socketserver.UnixStreamServer(str(socket_path), Handler)
    else:
        server = socketserver.TCPServer(("127.0.0.1", 0), Handler)
        api.url = f"http{'s' if certificate else ''}://127.0.0.1:{server.server_address[1]}"
        if certificate is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(*certificate)
            # The handshake belongs to whoever reads first, which is not the thread that accepts.
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield api
        finally:
            server.shutdown()
            thread.join()
