"""A gateway and its engines as processes of their own, and what tests ask of them. Used by the tests beside it."""

import http.client
import json
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import httpx
import ollama
import openai
from openai.types.chat import ChatCompletionChunk

from bench.children import Child, is_ready, program, run_child, wait_for_output, wait_until
from mrproxy.link.journal import read_segment, segments
from mrproxy.link.records import JournalRecord

START_SECONDS = 30.0
PATIENCE_SECONDS = 15.0
POLL_SECONDS = 0.01

T = TypeVar("T")

KEY = "mr_front-door-ada"
MESSAGES = [{"role": "user", "content": "Say something."}]


@dataclass(frozen=True)
class Answer:
    """A whole HTTP answer as it is on the wire, chunk framing removed. Header names are lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> object:
        return json.loads(self.body)


@dataclass(frozen=True)
class Gateway:
    """`mrproxy serve`, ready."""

    child: Child
    url: str
    data_dir: Path
    config_path: Path

    def open_openai(self, key: str = KEY) -> openai.OpenAI:
        """No retries of the SDK's own: what succeeds, succeeds because of the gateway."""
        http = openai.DefaultHttpxClient(trust_env=False)
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=30, http_client=http)

    def open_async_openai(self, key: str = KEY) -> openai.AsyncOpenAI:
        http = openai.DefaultAsyncHttpxClient(trust_env=False)
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=30, http_client=http)

    def open_ollama(self, key: str = KEY, **options: object) -> ollama.Client:
        headers = {"Authorization": f"Bearer {key}"}
        return ollama.Client(host=self.url, headers=headers, trust_env=False, timeout=30, **options)

    def open_async_ollama(self, key: str = KEY) -> ollama.AsyncClient:
        headers = {"Authorization": f"Bearer {key}"}
        return ollama.AsyncClient(host=self.url, headers=headers, trust_env=False, timeout=30)

    def connect(self) -> socket.socket:
        """A bare connection, for what no client library would send."""
        parts = urlsplit(self.url)
        return socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE_SECONDS)

    def ask(
        self, method: str, path: str, body: object = None, key: str = KEY, headers: dict[str, str] | None = None
    ) -> Answer:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=PATIENCE_SECONDS)
        try:
            sent = {"Authorization": f"Bearer {key}", "Content-Type": "application/json", **(headers or {})}
            connection.request(method, path, None if body is None else json.dumps(body), sent)
            answer = connection.getresponse()
            names = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, names, answer.read())
        finally:
            connection.close()

    def records(self) -> list[JournalRecord]:
        """The accounts so far."""
        found = segments(self.data_dir / "journal")
        return [record for segment in found for _, record in read_segment(segment.path)]

    def record_of(self, request_id: str) -> JournalRecord:
        """The one record of a request; it is written when the last byte has gone."""
        return eventually(
            lambda: next((record for record in self.records() if record.request_id == request_id), None),
            f"no record of {request_id}\n{self.child.output()}",
        )

    def pid_of(self, role: str) -> int:
        """The process that the supervisor started last as `w1` or `control`; the log says so."""
        lines = (json.loads(line) for line in self.child.output().splitlines() if line.startswith("{"))
        started = [line["pid"] for line in lines if line["event"] == "child started" and line["child"] == role]
        return int(started[-1])

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Something in the log, which must come."""
        return wait_for_output(self.child, pattern, seconds=PATIENCE_SECONDS)

    def wait_until_ready(self) -> None:
        wait_until(self.child, lambda: is_ready(self.url), seconds=START_SECONDS, what="/readyz does not say 200")

    def reload(self) -> None:
        self.child.process.send_signal(signal.SIGHUP)


def eventually(find: Callable[[], T | None], why: str, *, seconds: float = PATIENCE_SECONDS) -> T:
    """What `find` finds, once it finds something: for what another process does in its own time."""
    deadline = time.monotonic() + seconds
    while (found := find()) is None:
        if time.monotonic() > deadline:
            raise AssertionError(why)
        time.sleep(POLL_SECONDS)
    return found


@contextmanager
def run_mock(kind: str, directory: Path, *options: str, name: str = "") -> Iterator[str]:
    """A mock engine, fast unless told otherwise; yields its URL."""
    command = program("bench", "mock", kind, "--port=0", "--itl-ms=1", "--prefill-ms=1", *options)
    with run_child(name or f"mock-{kind}", command, directory) as child:
        yield wait_for_output(child, r"listening on (http://\S+)", seconds=START_SECONDS)[1]


@contextmanager
def run_gateway(
    directory: Path, config: str, *, options: Sequence[str] = (), waits: bool = True, stop_seconds: float = 10
) -> Iterator[Gateway]:
    """`mrproxy serve` on a free port with this configuration; drained at the end of the block."""
    directory.mkdir(parents=True, exist_ok=True)
    config_path, data_dir = directory / "mrproxy.toml", directory / "data"
    config_path.write_text(config)
    command = program("mrproxy", "serve", f"--config={config_path}", "--port=0", f"--data-dir={data_dir}", *options)
    with run_child("gateway", command, directory, stop_seconds=stop_seconds) as child:
        url = wait_for_output(child, r"mrproxy is ready on (https?://\S+)", seconds=START_SECONDS)[1]
        gateway = Gateway(child, url, data_dir, config_path)
        if waits:
            gateway.wait_until_ready()
        yield gateway


def backend_table(name: str, kind: str, url: str, **values: object) -> str:
    """`[[backends]]` for a configuration file; JSON's strings, numbers and lists are TOML's."""
    rows = {"name": name, "kind": kind, "url": url, **values}
    return "[[backends]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in rows.items())


def key_table(key: str, user: str, **values: object) -> str:
    rows = {"name": key.removeprefix("mr_"), "key": key, "user": user, **values}
    return "[[keys]]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in rows.items())


def mock_control(url: str, path: str, body: object = None) -> dict[str, object]:
    """A mock engine's control routes, see bench/backends/server.py."""
    method = "GET" if body is None else "POST"
    answer = httpx.request(method, f"{url}/_mock/{path}", json=body, trust_env=False, timeout=PATIENCE_SECONDS)
    answer.raise_for_status()
    found: dict[str, object] = answer.json()
    return found


def count_tokens(stream: Iterable[ChatCompletionChunk]) -> int:
    """Of a streamed chat; a mock engine puts one in an event."""
    return sum(bool(chunk.choices and chunk.choices[0].delta.content) for chunk in stream)


@dataclass
class Load:
    """Chats one after the other in each of some threads; `failures` has what was lost, which should be nothing."""

    gateway: Gateway
    answered: int = 0
    failures: list[str] = field(default_factory=list)
    is_over: threading.Event = field(default_factory=threading.Event)

    def run(self, *, streams: bool) -> None:
        asked = {"model": "mock-8b", "messages": MESSAGES, "max_tokens": 20, "stream": streams}
        with self.gateway.open_openai() as client:
            while not self.is_over.is_set():
                try:
                    raw = client.chat.completions.with_raw_response.create(**asked)
                    tokens = count_tokens(raw.parse()) if streams else 20
                except openai.OpenAIError as exc:
                    self.failures.append(f"{type(exc).__name__}: {exc}")
                else:
                    self.answered += 1
                    if tokens != 20:
                        self.failures.append(f"{tokens} tokens of 20: {raw.headers}")

    def wait_for_more(self, count: int) -> None:
        """Until so many more have been answered than now."""
        wanted = self.answered + count
        eventually(lambda: self.answered >= wanted or None, f"{self.answered} answered, {self.failures[-3:]}")


@contextmanager
def under_load(gateway: Gateway, threads: int = 4) -> Iterator[Load]:
    """Half of the threads stream. At the end of the block every request has ended."""
    load = Load(gateway)
    with ThreadPoolExecutor(threads) as pool:
        running = [pool.submit(load.run, streams=bool(number % 2)) for number in range(threads)]
        try:
            load.wait_for_more(threads)
            yield load
        finally:
            load.is_over.set()
    for each in running:
        each.result()
