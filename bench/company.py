"""Shell. Company for a measurement: keeps a gateway's control process busy, as a day with many operators would.

    python -m bench.company URL DATA_DIR

All at once, until it is killed: exports of all records, one after the other; pages and questions, fifty a second;
and journal records for the control process to take over, two thousand a second, as another worker would write them.
Read next: `compare.py`, beside whose windows it runs (`bench compare --busy`).
"""

import contextlib
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from bench.children import run_child, wait_for_output
from bench.export import made_key
from bench.ingest import example
from bench.targets import LOAD_CORE, can_pin
from mrproxy.link.journal import Writer

PATHS = (
    "/status",
    "/login",
    "/docs",
    "/admin/api/v1/usage?by=user",
    "/admin/api/v1/records?limit=100",
    "/admin/api/v1/users",
    "/metrics",
)
PAUSE_SECONDS = 0.02
BATCH_RECORDS = 20
BATCH_SECONDS = 0.01
BEGIN_SECONDS = 30.0
NICE = 5  # it shares a core with the generator, whose delays are measured


@contextlib.contextmanager
def keep_busy(url: str, data_dir: Path) -> Iterator[None]:
    """For the block, in a process of its own. ChildFailed if the gateway does not do what it is asked."""
    pinned = ["taskset", "-c", str(LOAD_CORE)] if can_pin() else []
    command = [*pinned, "nice", f"-n{NICE}", sys.executable, "-m", "bench.company", url, str(data_dir)]
    with tempfile.TemporaryDirectory() as directory, run_child("company", command, Path(directory)) as child:
        wait_for_output(child, "an export has begun", seconds=BEGIN_SECONDS)
        yield


def export_for_ever(url: str, headers: dict[str, str]) -> None:
    while True:
        for form in ("csv", "jsonl"):
            path = f"{url}/admin/api/v1/records/export?format={form}"
            with httpx.stream("GET", path, headers=headers, trust_env=False, timeout=60) as answer:
                answer.raise_for_status()
                print("an export has begun", flush=True)
                for _ in answer.iter_raw():
                    pass


def look_for_ever(url: str, headers: dict[str, str]) -> None:
    with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=60) as client:
        while True:
            for path in PATHS:
                client.get(path).raise_for_status()
                time.sleep(PAUSE_SECONDS)


def write_for_ever(data_dir: Path) -> None:
    chance = random.Random(0)
    writer = Writer(data_dir / "journal", f"bench{time.time_ns()}", 1 << 26)
    number = 0
    while True:
        number += BATCH_RECORDS
        writer.append_all([example(chance, number + each) for each in range(BATCH_RECORDS)])
        time.sleep(BATCH_SECONDS)


def main(url: str, data_dir: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    headers = {"Authorization": f"Bearer {made_key(Path(data_dir))}"}
    failed = threading.Event()
    jobs = ((export_for_ever, url, headers), (look_for_ever, url, headers), (write_for_ever, Path(data_dir)))

    def run(job: tuple[object, ...]) -> None:
        function, *arguments = job
        assert callable(function)
        try:
            function(*arguments)
        finally:
            failed.set()

    for job in jobs:
        threading.Thread(target=run, args=(job,), daemon=True).start()
    failed.wait()
    sys.exit("the gateway did not do what it was asked")


if __name__ == "__main__":
    main(*sys.argv[1:])
