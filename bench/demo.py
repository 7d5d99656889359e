"""Shell. `python -m bench.demo`: the main job, shown: two engines, one URL, real SDKs, what went where and how fast.

Starts two mock engines, `mrproxy serve` in front of them with a key of its own, streams one chat through `/v1` with the
OpenAI SDK and one through `/api` with the Ollama SDK, prints the journal, and leaves the gateway running until Ctrl-C
(`--exit` ends it at once). Everything it starts and writes is gone when it ends.
Read next: `children.py`, for the processes; `backends/`, for the engines.
"""

import json
import re
import secrets
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import click
import httpx
import ollama
import openai
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from bench.children import Child, ChildFailed, free_port, is_ready, program, run_child, wait_for_output, wait_until

START_SECONDS = 20.0
OPENAI_MODEL, OLLAMA_MODEL = "mock-8b", "llama3.2:latest"
QUESTION = "Why is one gateway better than many?"
ANSWER_TOKENS = 40
STAMP = re.compile(r"t(\d{19})")
JOURNAL_COLUMNS = ("user", "model", "backend", "dialect", "status", "prompt_tokens", "completion_tokens", "usage_state")


@dataclass(frozen=True)
class Gateway:
    """The running gateway and how to speak to it."""

    child: Child
    url: str
    key: str
    data_dir: Path


@dataclass
class Chat:
    """What one streamed answer looked like from the client's side; times from `time.perf_counter`."""

    sdk: str
    path: str
    started_at: float = field(default_factory=time.perf_counter)
    stamps: list[float] = field(default_factory=list)
    delays_ms: list[float] = field(default_factory=list)
    backend: str = "?"
    server_timing: str = ""

    def add(self, text: str) -> None:
        """A token arrived. A mock engine's token says when it was made, on this machine's monotonic clock."""
        self.stamps.append(time.perf_counter())
        if made := STAMP.search(text):
            self.delays_ms.append((time.monotonic_ns() - int(made[1])) / 1e6)

    def remember_headers(self, headers: httpx.Headers) -> None:
        self.backend = headers.get("x-mrproxy-backend", "?")
        self.server_timing = headers.get("server-timing", "")

    @property
    def ttft_ms(self) -> float:
        return (self.stamps[0] - self.started_at) * 1000 if self.stamps else float("nan")

    @property
    def delay_ms(self) -> float:
        return statistics.median(self.delays_ms) if self.delays_ms else float("nan")

    @property
    def tokens_per_second(self) -> float:
        spread = self.stamps[-1] - self.stamps[0] if len(self.stamps) > 1 else 0.0
        return (len(self.stamps) - 1) / spread if spread else float("nan")


@contextmanager
def run_demo(console: Console) -> Iterator[Gateway]:
    """Two engines and the gateway, ready; stopped in reverse order, so that the gateway drains into living engines."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mrproxy-demo-")))
        engines = {kind: stack.enter_context(run_engine(kind, directory)) for kind in ("vllm", "ollama")}
        backends = [f"--backend={kind}={url},name=mock-{kind}" for kind, url in engines.items()]
        key, url = f"mr_{secrets.token_urlsafe(32)}", f"http://127.0.0.1:{free_port(8000)}"
        data_dir = directory / "data"
        where = [f"--port={url.rpartition(':')[2]}", f"--data-dir={data_dir}"]
        environment = {"MRPROXY_BOOTSTRAP_API_KEY": key}
        child = stack.enter_context(
            run_child("gateway", [*program("mrproxy", "serve"), *where, *backends], directory, environment=environment)
        )
        wait_until(child, lambda: is_ready(url), seconds=START_SECONDS, what=f"{url}/readyz does not say 200")
        for kind, engine in engines.items():
            console.print(f"[bold]engine [/]  {engine}  mock {kind}")
        console.print(f"[bold]gateway[/]  {url}  process {child.pid}, in front of both")
        yield Gateway(child, url, key, data_dir)


@contextmanager
def run_engine(kind: str, directory: Path) -> Iterator[str]:
    """A mock engine on a free port; yields its URL."""
    with run_child(f"mock-{kind}", program("bench", "mock", kind, "--port=0"), directory) as child:
        yield wait_for_output(child, r"listening on (http://\S+)", seconds=START_SECONDS)[1]


def chat_by_openai(gateway: Gateway, console: Console) -> Chat:
    """`POST /v1/chat/completions`, streaming."""
    with openai.OpenAI(
        base_url=f"{gateway.url}/v1",
        api_key=gateway.key,
        max_retries=0,
        http_client=openai.DefaultHttpxClient(trust_env=False),
    ) as client:
        # An SDK's first request loads half of it and connects: not what is shown here.
        console.print(f"models: {', '.join(model.id for model in client.models.list())}")
        chat = Chat("openai", "/v1/chat/completions")
        raw = client.chat.completions.with_raw_response.create(
            model=OPENAI_MODEL,
            messages=[{"role": "user", "content": QUESTION}],
            max_tokens=ANSWER_TOKENS,
            stream=True,
        )
        chat.remember_headers(httpx.Headers(dict(raw.headers)))
        for chunk in raw.parse():
            if chunk.choices and chunk.choices[0].delta.content:
                chat.add(chunk.choices[0].delta.content)
                show_token(console)
    console.print()
    return chat


def chat_by_ollama(gateway: Gateway, console: Console) -> Chat:
    """`POST /api/chat`, streaming. The SDK shows no headers; its HTTP client's hook does."""
    last_headers = httpx.Headers()
    with ollama.Client(
        host=gateway.url,
        headers={"Authorization": f"Bearer {gateway.key}"},
        event_hooks={"response": [lambda response: last_headers.update(response.headers)]},
        trust_env=False,
    ) as client:
        console.print(f"models: {', '.join(model.model or '?' for model in client.list().models)}")
        chat = Chat("ollama", "/api/chat")
        for part in client.chat(
            model=OLLAMA_MODEL,
            messages=[{"role": "user", "content": QUESTION}],
            options={"num_predict": ANSWER_TOKENS},
            stream=True,
        ):
            if part.message.content:
                chat.add(part.message.content)
                show_token(console)
    chat.remember_headers(last_headers)
    console.print()
    return chat


def show_token(console: Console) -> None:
    """One mark each, as it arrives: what a mock engine says is a time stamp, and not worth reading."""
    console.print("[green]▪[/]" if console.is_terminal else ".", end="", soft_wrap=True, highlight=False)


def show_chats(console: Console, chats: list[Chat]) -> None:
    """What went where, and how fast."""
    table = new_table(console, "SDK", "path", "backend", "tokens", "TTFT", "tokens/s", "engine to SDK", "Server-Timing")
    for chat in chats:
        table.add_row(
            chat.sdk,
            chat.path,
            chat.backend,
            str(len(chat.stamps)),
            f"{chat.ttft_ms:.1f} ms",
            f"{chat.tokens_per_second:.1f}",
            f"{chat.delay_ms:.2f} ms",
            chat.server_timing,
        )
    console.print(table)


def show_journal(console: Console, records: list[dict[str, object]]) -> None:
    """What was accounted."""
    table = new_table(console, *(name.replace("_", " ") for name in JOURNAL_COLUMNS))
    for record in records:
        table.add_row(*(escape(str(record.get(name, ""))) for name in JOURNAL_COLUMNS))
    console.print(table)


def new_table(console: Console, *columns: str) -> Table:
    """Lines around cells are for eyes; on a pipe there are columns only."""
    table = Table(box=SIMPLE if console.is_terminal else None, pad_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=True)
    return table


def read_journal(data_dir: Path) -> list[dict[str, object]]:
    """The records, by the command anybody would use."""
    command = program("mrproxy", "journal", "cat", "--json", f"--data-dir={data_dir}")
    finished = subprocess.run(command, capture_output=True, text=True, timeout=START_SECONDS, check=False)
    if finished.returncode:
        raise ChildFailed(f"mrproxy journal cat failed:\n{finished.stderr}")
    return [json.loads(line) for line in finished.stdout.splitlines()]


def show_invitation(console: Console, gateway: Gateway) -> None:
    """URL and key, and a command ready to be pasted: so it has no frame around it and is not wrapped."""
    facts = (
        f"URL      {gateway.url}/v1  (OpenAI SDKs)",
        f"         {gateway.url}  (Ollama clients)",
        f"key      {gateway.key}",
        f"status   {gateway.url}/status",
        f"metrics  {gateway.url}/metrics",
    )
    text = escape("\n".join(facts))
    console.print(Panel(text, title="running; Ctrl-C ends it", expand=False) if console.is_terminal else text)
    question = f'{{"model": "{OPENAI_MODEL}", "stream": true, "messages": [{{"role": "user", "content": "hi"}}]}}'
    command = (
        f"curl {gateway.url}/v1/chat/completions -H 'Authorization: Bearer {gateway.key}' \\",
        f"  -H 'Content-Type: application/json' -d '{question}'",
    )
    console.print(escape("\n".join(command)), soft_wrap=True, highlight=False)


def show_everything(console: Console, gateway: Gateway) -> None:
    console.print(f"\n[bold]{QUESTION}[/]  (openai SDK, /v1; one mark is one token)")
    chats = [chat_by_openai(gateway, console)]
    console.print(f"\n[bold]{QUESTION}[/]  (ollama SDK, /api)")
    chats.append(chat_by_ollama(gateway, console))
    console.print("\n[bold]What went where[/]")
    show_chats(console, chats)
    console.print("\n[bold]What was accounted[/]  (mrproxy journal cat)")
    show_journal(console, read_journal(gateway.data_dir))
    console.print()


def end_at_sigterm() -> None:
    """So that `kill` cleans up as Ctrl-C does."""

    def end(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--exit", "ends", is_flag=True, help="End after the show instead of leaving the gateway running.")
def main(ends: bool) -> None:
    """Two mock engines behind one gateway, driven by the real SDKs."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    end_at_sigterm()
    try:
        with run_demo(console) as gateway:
            show_everything(console, gateway)
            if not ends:
                show_invitation(console, gateway)
                status = gateway.child.process.wait()
                raise gateway.child.failed(f"ended with status {status}")
    except KeyboardInterrupt:
        console.print("\nstopped")
    except (ChildFailed, openai.OpenAIError, ollama.ResponseError, httpx.HTTPError, ConnectionError) as exc:
        raise click.ClickException(str(exc)) from exc


if __name__ == "__main__":
    main()
