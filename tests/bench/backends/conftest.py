import pytest

from bench.targets import open_mock


@pytest.fixture(scope="session")
def vllm():
    with open_mock("vllm", "--itl-ms", "1", "--prefill-ms", "1", "--queue-limit", "2", "--max-num-seqs", "2") as target:
        yield target


@pytest.fixture(scope="session")
def ollama_mock():
    with open_mock("ollama", "--itl-ms", "1", "--prefill-ms", "1") as target:
        yield target
