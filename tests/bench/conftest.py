import os

import pytest

from bench.targets import open_mock


@pytest.fixture(scope="session")
def engine():
    """A fast vLLM mock in a process of its own."""
    with open_mock("vllm", "--itl-ms", "1", "--prefill-ms", "1", "--max-num-seqs", "10000", "--json-ms", "0") as target:
        yield target


@pytest.fixture(autouse=True)
def unpinned():
    """What measures pins its own process, and here that is the test runner's."""
    cores = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, cores)
