"""Shell. Models that are pulled to an Ollama engine: long jobs, kept in memory, a bounded number of them.

A job runs in the nursery it is started in and ends with the process: Ollama keeps what it has of a model, so another
pull goes on there. What fails is tried ATTEMPTS times. The newest KEPT_JOBS can be looked at.
Source: https://github.com/ollama/ollama/blob/main/docs/api.md, "Pull a Model", "Delete a Model" (2025-11).
Read next: `ollama.py`, the endpoints.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from uuid import uuid4

import httpx
import msgspec
import trio

from mrproxy.clock import Clock
from mrproxy.control.api.problem import Problem
from mrproxy.control.mindrouter.values import iso_at
from mrproxy.control.status import without_userinfo
from mrproxy.dialects.unreadable import UNREADABLE
from mrproxy.upstream.bounded import IDENTITY, AnswerRefused, read_pieces

ATTEMPTS = 3
KEPT_JOBS = 100
MOST_RUNNING = 8
DELETE_SECONDS = 30.0
# Its longest is an error with the answer of a registry.
MAX_LINE_BYTES = 256 << 10
# Between two lines of a pull, Ollama may verify some gigabytes.
TIMEOUT = httpx.Timeout(10.0, read=600.0)

Pulled = Callable[[], Awaitable[object]]


class Progress(msgspec.Struct, kw_only=True):
    """The last line of Ollama's."""

    status: str = ""
    digest: str = ""
    total: int = 0
    completed: int = 0


class Line(Progress, kw_only=True):
    error: str = ""


class PullJob(msgspec.Struct, kw_only=True):
    """`status`: pulling, success, error."""

    job_id: str
    model: str
    ollama_url: str
    status: str = "pulling"
    progress: Progress = msgspec.field(default_factory=Progress)
    error: str | None = None
    started_at: str
    completed_at: str | None = None


@dataclass(frozen=True, slots=True)
class Engine:
    """An Ollama to talk to."""

    url: str
    api_key: str | None = None

    def open_client(self) -> httpx.AsyncClient:
        headers = dict(IDENTITY) if self.api_key is None else {**IDENTITY, "Authorization": f"Bearer {self.api_key}"}
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=TIMEOUT, trust_env=False)


class PullFailed(Exception):
    """The message is a sentence for whoever asked."""


@dataclass(frozen=True, slots=True)
class PullJobs:
    """Of one control process."""

    clock: Clock
    _jobs: dict[tuple[int, str], PullJob] = field(default_factory=dict)

    def start(self, nursery: trio.Nursery, backend: int, engine: Engine, model: str, pulled: Pulled) -> PullJob:
        """`pulled` is awaited when the model is there. Raises Problem when too many run."""
        if sum(job.status == "pulling" for job in self._jobs.values()) >= MOST_RUNNING:
            raise Problem("too-many", f"{MOST_RUNNING} pulls run already.", retry_seconds=60)
        job = PullJob(
            job_id=str(uuid4()), model=model, ollama_url=without_userinfo(engine.url), started_at=iso_at(self.clock())
        )
        self._jobs[(backend, job.job_id)] = job
        self._forget()
        nursery.start_soon(self._run, job, engine, pulled, name=f"pull {model}")
        return job

    def find(self, backend: int, job_id: str) -> PullJob | None:
        return self._jobs.get((backend, job_id))

    def _forget(self) -> None:
        over = [key for key, job in self._jobs.items() if job.status != "pulling"]
        for key in over[: max(0, len(self._jobs) - KEPT_JOBS)]:
            del self._jobs[key]

    async def _run(self, job: PullJob, engine: Engine, pulled: Pulled) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                await pull(job, engine)
                job.status, job.error = "success", None
                break
            except PullFailed as exc:
                job.error = f"{exc} (attempt {attempt} of {ATTEMPTS})"
            if attempt < ATTEMPTS:
                await trio.sleep(2.0**attempt)
        else:
            job.status = "error"
        job.completed_at = iso_at(self.clock())
        if job.status == "success":
            await pulled()


async def pull(job: PullJob, engine: Engine) -> None:
    """Until Ollama says that it has the model. Raises PullFailed."""
    lines = Lines(job)
    try:
        async with engine.open_client() as client:
            async with client.stream("POST", "/api/pull", json=named(job.model) | {"stream": True}) as response:
                if response.status_code != 200:
                    raise PullFailed(f"Ollama answered with status {response.status_code}")
                await read_pieces(response, lines.take)
    except AnswerRefused as exc:
        raise PullFailed(f"Ollama's answer cannot be read: {exc}") from exc
    except (httpx.HTTPError, OSError) as exc:
        raise PullFailed(f"Ollama cannot be reached ({type(exc).__name__})") from exc
    lines.finish()
    if lines.error:
        raise PullFailed(f"Ollama said: {lines.error[:500]}")
    if job.progress.status != "success":
        raise PullFailed("Ollama ended before the model was there")


@dataclass(slots=True)
class Lines:
    """What Ollama says of one pull, however it is cut. `error` is the first that it tells."""

    job: PullJob
    error: str = ""
    _held: bytearray = field(default_factory=bytearray)

    def take(self, piece: bytes) -> None:
        """Raises AnswerRefused."""
        self._held += piece
        if b"\n" in piece:
            *lines, rest = bytes(self._held).split(b"\n")
            for line in lines:
                self._read(line)
            self._held = bytearray(rest)
        if len(self._held) > MAX_LINE_BYTES:
            raise AnswerRefused("a line is too long")

    def finish(self) -> None:
        self._read(bytes(self._held))

    def _read(self, line: bytes) -> None:
        error = take_line(self.job, line)
        self.error = self.error or error


def take_line(job: PullJob, text: str | bytes) -> str:
    """The error that it says, if any. What is no line of Ollama's is passed over."""
    try:
        line = msgspec.json.decode(text, type=Line)
    except UNREADABLE:
        return ""
    job.progress = Progress(status=line.status, digest=line.digest, total=line.total, completed=line.completed)
    return line.error


async def delete_model(engine: Engine, model: str) -> None:
    """Raises Problem."""
    try:
        with trio.fail_after(DELETE_SECONDS):
            async with engine.open_client() as client:
                async with client.stream("DELETE", "/api/delete", json=named(model)) as response:
                    pass  # its body is read by nobody
    except (httpx.HTTPError, OSError, trio.TooSlowError) as exc:
        raise Problem("backend", f"Ollama cannot be reached ({type(exc).__name__})") from exc
    if response.status_code == 404:
        raise Problem("not-found", "Model not found on this backend")
    if response.status_code != 200:
        raise Problem("backend", f"Ollama answered with status {response.status_code}")


def named(model: str) -> dict[str, object]:
    """By both words: older versions know `name` only."""
    return {"model": model, "name": model}
