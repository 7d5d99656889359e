"""The gateway with all engines behind it, and what tests ask of them: answers, the journal's word, the engines' own.

`answered` is what most tests call: it checks what holds for every answer, whatever was asked, so that the tests say
only what is their own. Nothing here sleeps: what another process does in its own time is asked for until it is there.
"""

import json
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from bench.children import run_child, wait_for_output
from mrproxy.link.journal import Tail
from mrproxy.link.records import JournalRecord
from tests.front_door.gateway import (
    PATIENCE_SECONDS,
    START_SECONDS,
    Gateway,
    backend_table,
    eventually,
    key_table,
    run_gateway,
)
from tests.matrix.asks import PNG, Ask, Seen
from tests.matrix.callers.caller import Caller
from tests.matrix.engines import ALL, Engine

ROOT = Path(__file__).parents[2]
KEY = "mr_matrix"
# A fault in one test must not close the way for the next one.
SETTINGS = """
access_log = false
probe_interval_seconds = 60
breaker_failures = 1000000
breaker_min_requests = 1000000
aborted_prompts = "always"
image_allow_networks = "127.0.0.0/8"
"""

Json = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """`truth` is what the engine says of the request: its own counts, its path, its body. Empty if it got none."""

    status: int
    headers: httpx.Headers
    body: bytes
    record: JournalRecord
    truth: Json
    seen: Seen

    @property
    def warnings(self) -> list[str]:
        return [line.removeprefix('299 mrproxy "').removesuffix('"') for line in self.headers.get_list("warning")]

    @property
    def said(self) -> Json:
        """What the engine was sent."""
        body: Json = self.truth["body"]
        return body


class Site:
    """Pictures on the web. `asked`: the paths, in order."""

    def __init__(self) -> None:
        asked: list[str] = []
        self.asked = asked

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                is_there = self.path.endswith(".png")
                self.send_response(200 if is_there else 404)
                self.send_header("content-type", "image/png" if is_there else "text/plain")
                self.send_header("content-length", str(len(PNG) if is_there else 0))
                self.end_headers()
                self.wfile.write(PNG if is_there else b"")

            def log_message(self, *_: object) -> None:
                """Quietly."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @contextmanager
    def serve(self) -> Iterator["Site"]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()


class House:
    def __init__(self, gateway: Gateway, urls: dict[str, str], site: Site, client: httpx.Client) -> None:
        self.gateway = gateway
        self.site = site
        self._urls = urls
        self._client = client
        self._tail = Tail(gateway.data_dir / "journal")
        self._records: dict[str, JournalRecord] = {}

    def post(self, path: str, body: Json | bytes, **headers: str) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
        return self._client.post(path, content=content, headers=headers)

    def get(self, path: str) -> httpx.Response:
        response = self._client.get(path)
        response.raise_for_status()
        return response

    def ask(self, caller: Caller, engine: Engine, ask: Ask, **extra: object) -> Answer:
        """Whatever the answer is; `extra` are fields that only this dialect has."""
        response = self.post(caller.path, caller.write(engine.model, ask) | extra)
        return self.judge(engine, response)

    def judge(self, engine: Engine, response: httpx.Response) -> Answer:
        request_id = response.headers["x-request-id"]
        record = self.record_of(request_id)
        assert record.status == response.status_code
        truth = self.truth_of(engine, request_id)
        return Answer(response.status_code, response.headers, response.content, record, truth, Seen())

    def answered(
        self, caller: Caller, engine: Engine, ask: Ask, warns: tuple[str, ...] = (), **extra: object
    ) -> Answer:
        """A good answer, read; its lane, its warnings and all its counts are what they have to be.

        `warns`: for each warning a word that it must have, when the request is translated."""
        answer = self.ask(caller, engine, ask, **extra)
        assert answer.status == 200, answer.body
        read = caller.read_stream if ask.stream else caller.read_document
        kind = caller.stream_type if ask.stream else "application/json"
        assert answer.headers["content-type"].partition(";")[0] == kind
        seen = read(answer.body)
        answer = Answer(answer.status, answer.headers, answer.body, answer.record, answer.truth, seen)
        assert seen.error is None
        assert seen.is_whole
        check_lane(caller.surface, engine, answer, ask)
        warns = (*warns, *(word for kind, word in caller.always_warned if kind == engine.kind))
        check_warnings(answer, warns if answer.record.lane == "translating" else ())
        check_counts(caller, answer)
        return answer

    def refused(self, caller: Caller, engine: Engine, ask: Ask, status: int = 400, **extra: object) -> str:
        """The words of a refusal. What did not reach the engine has cost nothing."""
        answer = self.ask(caller, engine, ask, **extra)
        assert answer.status == status, answer.body
        assert answer.headers["content-type"].partition(";")[0] == "application/json"
        if not answer.truth:
            assert not answer.record.completion_tokens
        return caller.read_error(status, answer.body)

    @contextmanager
    def asking(self, caller: Caller, engine: Engine, ask: Ask) -> Iterator[httpx.Response]:
        """An answer while it arrives; to leave the block is to leave the gateway."""
        content = json.dumps(caller.write(engine.model, ask)).encode()
        with self._client.stream("POST", caller.path, content=content) as response:
            yield response

    @contextmanager
    def leaving(self, caller: Caller, engine: Engine, ask: Ask) -> Iterator[Json]:
        """A caller who asks, and hangs up at the end of the block; yields what the engine says of the request."""
        body = json.dumps(caller.write(engine.model, ask)).encode()
        request_id = uuid.uuid4().hex
        head = f"POST {caller.path} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {KEY}\r\n"
        head += f"x-request-id: {request_id}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        with self.gateway.connect() as connection:
            connection.sendall(head.encode() + body)
            yield self.eventual_truth_of(engine, request_id, lambda truth: True)

    @contextmanager
    def struck(self, engine: Engine, kind: str, after_tokens: int = 3) -> Iterator[None]:
        """In this block the requests to this engine's mock have this fault."""
        self._control(engine, "faults", {"kind": kind, "after_tokens": after_tokens})
        try:
            yield
        finally:
            self._control(engine, "faults", {})

    def truth_of(self, engine: Engine, request_id: str) -> Json:
        """What the engine says of a request; of the last try, where a connection was stale."""
        found = self._control(engine, f"requests?id={request_id}")
        return found[-1] if found else {}

    def eventual_truth_of(self, engine: Engine, request_id: str, is_wanted: Callable[[Json], bool]) -> Json:
        """Once it is what is waited for."""

        def find() -> Json | None:
            truth = self.truth_of(engine, request_id)
            return truth if truth and is_wanted(truth) else None

        return eventually(find, f"the engine does not say so of {request_id}")

    def record_of(self, request_id: str) -> JournalRecord:
        """The journal is written when the last byte has gone."""

        def find() -> JournalRecord | None:
            self._records |= {record.request_id: record for record in self._tail.poll()}
            return self._records.get(request_id)

        return eventually(find, f"no record of {request_id}")

    def _control(self, engine: Engine, path: str, body: object = None) -> Any:
        method = "GET" if body is None else "POST"
        answer = self._client.request(method, f"{self._urls[engine.mock]}/_mock/{path}", json=body)
        answer.raise_for_status()
        return answer.json()


def check_lane(surface: str, engine: Engine, answer: Answer, ask: Ask | None = None) -> None:
    lane = engine.lane(surface, ask)
    assert answer.headers["x-mrproxy-lane"] == answer.record.lane == lane
    assert answer.headers["x-mrproxy-backend"] == answer.record.backend == engine.name


def check_warnings(answer: Answer, warns: tuple[str, ...]) -> None:
    left = answer.warnings
    for word in warns:
        found = [warning for warning in left if word in warning]
        assert found, f"no warning of {word!r}: {answer.warnings}"
        left.remove(found[0])
    assert not left, "warned of what is not said to be lost"


def check_counts(caller: Caller, answer: Answer) -> None:
    """Everybody says what the engine counted: the journal, and the answer as far as its dialect goes."""
    record, truth, seen = answer.record, answer.truth, answer.seen
    true_counts = (truth["prompt_tokens"], truth["completion_tokens"])
    assert truth["state"] == "done"
    assert (record.prompt_tokens, record.completion_tokens) == true_counts
    assert record.usage_state == "exact"
    assert (seen.prompt_tokens, seen.completion_tokens) == true_counts


@contextmanager
def open_house(directory: Path) -> Iterator[House]:
    """Two processes and a thread."""
    with ExitStack() as stack:
        command = [sys.executable, "-m", "tests.matrix.engines"]
        child = stack.enter_context(run_child("engines", command, directory, environment={"PYTHONPATH": str(ROOT)}))
        wait_for_output(child, r"(?m)^ready$", seconds=START_SECONDS)
        urls = dict(line.split() for line in child.output().splitlines() if " http://" in line)
        site = stack.enter_context(Site().serve())
        backends = [
            backend_table(
                each.name, each.kind, urls[each.mock], models=[each.model], max_concurrent=64, api_key="a-key"
            )
            for each in ALL
        ]
        config = "\n".join([SETTINGS, *backends, key_table(KEY, "ada")])
        gateway = stack.enter_context(run_gateway(directory, config))
        headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
        client = stack.enter_context(
            httpx.Client(base_url=gateway.url, headers=headers, trust_env=False, timeout=PATIENCE_SECONDS)
        )
        wait_for_models(client)
        yield House(gateway, urls, site, client)


def wait_for_models(client: httpx.Client) -> None:
    """A gateway is ready when some backend is."""
    wanted = {engine.model for engine in ALL}

    def find() -> bool | None:
        known = {model["id"] for model in client.get("/v1/models").json()["data"]}
        return wanted <= known or None

    eventually(find, "not all models are known")
