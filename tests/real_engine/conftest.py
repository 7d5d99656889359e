"""Real engines and a real gateway in front of them; without `make real-engine` there is nothing to collect here."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import openai
import pytest

from bench.children import Child, free_port, is_ready, program, run_child, wait_until

ENGINE_PYTHON = os.environ.get("MRPROXY_REAL_ENGINE_PYTHON", "")
MODEL_PATH = os.environ.get("MRPROXY_REAL_ENGINE_MODEL", "")
MODEL = "tiny-random"
KEY = "mr_real-engine-key-of-the-tests"
START_SECONDS = 60

collect_ignore_glob = [] if ENGINE_PYTHON else ["test_*.py"]


@dataclass(frozen=True)
class Engine:
    """One llama.cpp server. It works at one request at a time: the next waits for its lock."""

    child: Child
    url: str


@dataclass(frozen=True)
class Gateway:
    """`mrproxy serve` in front of the engines."""

    child: Child
    url: str
    engines: tuple[Engine, ...]
    data_dir: Path

    def open_client(self) -> openai.OpenAI:
        return open_client(self.url)


def open_client(url: str) -> openai.OpenAI:
    """No retries of the SDK's own: what succeeds, succeeds because of the gateway."""
    http = openai.DefaultHttpxClient(trust_env=False)
    return openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0, timeout=60, http_client=http)


@contextmanager
def run_engine(name: str, directory: Path) -> Iterator[Engine]:
    """Without `--interrupt_requests false` a new request would cut off the one that streams."""
    port = free_port()
    command = [ENGINE_PYTHON, "-u", "-m", "llama_cpp.server", "--host=127.0.0.1", f"--port={port}"]
    command += [f"--model={MODEL_PATH}", f"--model_alias={MODEL}", "--n_ctx=16384", "--n_threads=1"]
    command += ["--interrupt_requests=false", "--verbose=false"]
    url = f"http://127.0.0.1:{port}"
    with run_child(name, command, directory) as child:
        wait_until(child, lambda: serves_models(url), seconds=START_SECONDS, what="no /v1/models")
        yield Engine(child, url)


def serves_models(url: str) -> bool:
    try:
        return httpx.get(f"{url}/v1/models", trust_env=False, timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


@contextmanager
def run_gateway(engines: tuple[Engine, ...], directory: Path) -> Iterator[Gateway]:
    url, data_dir = f"http://127.0.0.1:{free_port()}", directory / "data"
    command = program("mrproxy", "serve", f"--port={url.rpartition(':')[2]}", f"--data-dir={data_dir}")
    command += [f"--backend=llamacpp={engine.url},max_concurrent=1,name={engine.child.name}" for engine in engines]
    environment = {"MRPROXY_BOOTSTRAP_API_KEY": KEY}
    with run_child("gateway", command, directory, environment=environment) as child:
        wait_until(child, lambda: is_ready(url), seconds=START_SECONDS, what="/readyz does not say 200")
        yield Gateway(child, url, engines, data_dir)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with run_engine("engine-a", tmp_path_factory.mktemp("engine")) as running:
        yield running


@pytest.fixture(scope="module")
def gateway(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """One engine behind it, for all that does no harm to it."""
    with run_gateway((engine,), tmp_path_factory.mktemp("gateway")) as running:
        yield running


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Gateway]:
    """Two engines behind it; the test may kill them."""
    with ExitStack() as stack:
        engines = tuple(stack.enter_context(run_engine(name, tmp_path)) for name in ("engine-a", "engine-b"))
        yield stack.enter_context(run_gateway(engines, tmp_path))
