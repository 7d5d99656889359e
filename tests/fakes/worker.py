"""A relay worker's socket without a relay worker: answers `GET /counters` with what the test says."""

import copy
import json
import socket
from pathlib import Path
from typing import Any

import trio

REPORT: dict[str, Any] = {
    "worker": "0",
    "requests": [
        ["openai", "m1", "gpu-a", 200, 7],
        ["ollama", 'quo"te\\d', "gpu-b", 503, 2],
    ],
    "histograms": {
        "ttft_seconds": {"bounds": [0.1, 1.0], "counts": [3, 2, 1], "sum": 4.5},
        "queue_wait_seconds": {"bounds": [0.1, 1.0], "counts": [6, 0, 0], "sum": 0.01},
    },
    "counters": {"connections_total": 11, "journal_records_total": 9, "a_new_counter_total": 1},
    "refused": {"invalid_key": 4},
    "usage_states": {"exact": 6, "partial": 1},
    "gauges": {"in_flight": 2, "waiting": 1, "connections": 3, "event_loop_lag_seconds": 0.0005},
    "backends": [
        {
            "name": "gpu-a",
            "kind": "vllm",
            "url": "http://someone:secret@127.0.0.1:9001",
            "healthy": True,
            "draining": False,
            "breaker": "closed",
            "in_flight": 2,
            "max_concurrent": 64,
            "models": ["m1", "m2"],
            "resident": ["m1"],
            "ttft_seconds": 0.25,
            "idle_connections": 3,
            "last_probe_error": "",
        },
        {
            "name": "gpu-b",
            "kind": "ollama",
            "url": "http://127.0.0.1:9002",
            "healthy": False,
            "draining": False,
            "breaker": "open",
            "in_flight": 0,
            "max_concurrent": 4,
            "models": ["m2", "m3"],
            "resident": [],
            "ttft_seconds": 0.0,
            "idle_connections": 0,
            "last_probe_error": "connection refused",
        },
    ],
    "snapshot": {"generation": 5, "loaded": True},
    "something_of_tomorrow": [1, 2, 3],
}


def report(**changes: Any) -> dict[str, Any]:
    """The report of a worker that serves, with `changes` at the top level."""
    return {**copy.deepcopy(REPORT), **changes}


class FakeWorker:
    """Listens on `run_directory/worker-<name>.sock`; `body` None means: accept, read, never answer.

    Anything but `GET /counters` is a command, remembered and answered with `{}`.
    """

    def __init__(self, run_directory: Path, name: str, body: object, *, status: int = 200) -> None:
        self.path = run_directory / f"worker-{name}.sock"
        self.asked = 0
        self.body = body
        self.status = status
        self.commands: list[str] = []

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        listener = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        await listener.bind(str(self.path))
        listener.listen()
        await trio.serve_listeners(self._answer, [trio.SocketListener(listener)], task_status=task_status)

    async def _answer(self, stream: trio.SocketStream) -> None:
        async with stream:
            head = b""
            while b"\r\n\r\n" not in head:
                head += await stream.receive_some()
            line = head.partition(b" HTTP/1.1\r\n")[0].decode()
            if line != "GET /counters":
                self.commands.append(line)
                await stream.send_all(b"HTTP/1.1 200 X\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
                return
            self.asked += 1
            if self.body is None:
                await stream.receive_some()  # returns when the asker hangs up
                return
            body = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
            fields = f"HTTP/1.1 {self.status} X\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            await stream.send_all(fields.encode() + body)
