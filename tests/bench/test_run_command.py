import os
import socket

from bench.results import Fidelity
from bench.run_command import exit_code, find_pids, plan_of

from .results_example import example

OPTIONS = {
    "operation": "chat", "model": None, "stream": True, "max_tokens": 8, "prompt_bytes": 10, "include_usage": False,
    "concurrency": 4, "rate": 0.0, "arrival": "constant", "seconds": 1.0,
    "warm_seconds": 0.0, "seed": 1, "max_lag_ms": 5.0,
}  # fmt: skip


def test_exit_codes_tell_failed_from_invalid():
    assert exit_code(example()) == 0
    assert exit_code(example(errors={"status 500": 1})) == 2
    assert exit_code(example(unfinished=1)) == 2
    assert exit_code(example(fidelity=Fidelity(10, 9, 0, 0))) == 2
    assert exit_code(example(errors={"status 500": 1}, invalid=["late"])) == 3


def test_an_operation_chooses_its_model_and_embeddings_do_not_stream():
    assert plan_of(OPTIONS, ()).spec.model == "mock-8b"
    assert plan_of(OPTIONS | {"operation": "ollama_chat"}, ()).spec.model == "llama3.2"
    assert plan_of(OPTIONS | {"operation": "embeddings"}, ()).spec.stream is False
    assert plan_of(OPTIONS, ("a", "b")).keys == ("a", "b")


def test_processes_are_named_found_or_left_out():
    assert find_pids(None, 1) == ()
    assert find_pids("1,2", 1) == (1, 2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert find_pids("auto", listener.getsockname()[1]) == (os.getpid(),)
