"""One gateway with four engines for all tests that do no harm to it; `tests/front_door/gateway.py` starts others."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import ollama
import openai
import pytest

from bench.children import program, run_child
from tests.fakes.engine import ScriptedEngine, run_scripted_engine
from tests.front_door.gateway import KEY, Gateway, backend_table, key_table, run_gateway, run_mock

# A key that may ask once a minute is used up by one test, so each has its own.
ONCE = [f"mr_front-door-once-{name}" for name in ("openai", "openai-stream", "ollama", "npm-openai", "npm-ollama")]
RESTRICTED_KEY = "mr_front-door-restricted"
EXPIRED_KEY = "mr_front-door-expired"
BUDGET_KEY = "mr_front-door-budget"

USERS = """
[groups.guests]
weight = 1
requests_per_minute = 1000
tokens_per_minute = 1000000

[[users]]
name = "ada"
group = "staff"

[[users]]
name = "guest"
group = "guests"
concurrent_requests = 50

[[users]]
name = "hurried"
"""


@dataclass(frozen=True)
class House:
    """The gateway and what is behind it. `asleep` is a backend that is drained: its model is known and not routable."""

    gateway: Gateway
    vllm_url: str
    ollama_url: str
    scripted: ScriptedEngine


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    directory = tmp_path_factory.mktemp("front-door")
    with ExitStack() as stack:
        models = ("--model=mock-8b", "--model=org/model-7b", "--answer-tokens=8", "--json-ms=1")
        vllm_url = stack.enter_context(run_mock("vllm", directory, *models))
        ollama_url = stack.enter_context(
            run_mock("ollama", directory, "--model=llama3.2", "--answer-tokens=8", "--json-ms=1", "--load-ms=1")
        )
        scripted = stack.enter_context(run_scripted_engine("scripted"))
        sleeper = stack.enter_context(run_scripted_engine("asleep"))
        backends = [
            backend_table("mock-vllm", "vllm", vllm_url),
            backend_table("mock-ollama", "ollama", ollama_url),
            backend_table("scripted", "openai", scripted.url),
            backend_table("asleep", "openai", sleeper.url),
        ]
        gateway = stack.enter_context(run_gateway(directory, "\n".join([USERS, *keys(), *backends])))
        drain(gateway, "asleep", directory)
        yield House(gateway, vllm_url, ollama_url, scripted)


def keys() -> list[str]:
    return [
        key_table(KEY, "ada"),
        key_table("mr_front-door-guest", "guest"),
        key_table(RESTRICTED_KEY, "ada", models=["mock-8b"]),
        key_table(EXPIRED_KEY, "ada", expires="2020-01-01T00:00:00Z"),
        key_table(BUDGET_KEY, "ada", token_budget=1),
        *(key_table(key, "hurried", requests_per_minute=1) for key in ONCE),
    ]


def drain(gateway: Gateway, backend: str, directory: Path) -> None:
    """By the command of an operator, as soon as the gateway is ready."""
    command = program("mrproxy", "backend", "drain", backend, f"--data-dir={gateway.data_dir}")
    with run_child("drain", command, directory) as child:
        assert child.process.wait(10) == 0, child.output()


@pytest.fixture
def gateway(house: House) -> Gateway:
    return house.gateway


@pytest.fixture
def openai_client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with gateway.open_openai() as client:
        yield client


@pytest.fixture
def ollama_client(gateway: Gateway) -> Iterator[ollama.Client]:
    with gateway.open_ollama() as client:
        yield client
