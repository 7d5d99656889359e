"""Models that are pulled and deleted at an engine that says what the test wants."""

import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest
import trio

from mrproxy.control.api.problem import Problem
from mrproxy.control.mindrouter import pulls
from mrproxy.control.mindrouter.pulls import (
    MOST_RUNNING,
    Engine,
    PullJob,
    PullJobs,
    delete_model,
    take_line,
)

Respond = Callable[[httpx.Request], httpx.Response] | Callable[[httpx.Request], Awaitable[httpx.Response]]


class Ollama(Engine):
    """Answers by a function. `asked` is what it was asked."""

    def __init__(self, respond: Respond) -> None:
        super().__init__("http://user:secret@ollama")
        self.__dict__["respond"], self.__dict__["asked"] = respond, []

    def open_client(self) -> httpx.AsyncClient:
        async def answer(request: httpx.Request) -> httpx.Response:
            self.__dict__["asked"].append(request)
            found = self.__dict__["respond"](request)
            return await found if not isinstance(found, httpx.Response) else found

        return httpx.AsyncClient(base_url="http://ollama", transport=httpx.MockTransport(answer))


def said(*lines: object) -> httpx.Response:
    return streamed(b"".join(json.dumps(line).encode() + b"\n" for line in lines))


def streamed(*pieces: bytes, status: int = 200, **headers: str) -> httpx.Response:
    async def give() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    return httpx.Response(status, content=give(), headers={each.replace("_", "-"): headers[each] for each in headers})


async def nothing() -> None:
    """Nobody is to be told."""


async def pulled(engine: Engine) -> tuple[PullJob, int]:
    """The job when it has ended, and how often somebody was told."""
    told = []

    async def tell() -> None:
        told.append(1)

    jobs = PullJobs(lambda: 0.0)
    async with trio.open_nursery() as nursery:
        job = jobs.start(nursery, 1, engine, "llama3.2", tell)
        assert (job.status, job.started_at) == ("pulling", "1970-01-01T00:00:00+00:00")
    assert jobs.find(1, job.job_id) is job
    assert jobs.find(2, job.job_id) is None
    return job, len(told)


async def test_a_pull_ends_when_ollama_says_success(autojump_clock):
    progress = {"status": "pulling", "digest": "sha256:1", "total": 10, "completed": 5}
    engine = Ollama(lambda _: said({"status": "pulling manifest"}, progress, ["odd"], {"status": "success"}))
    job, told = await pulled(engine)
    assert (job.status, job.error, told, job.ollama_url) == ("success", None, 1, "http://ollama")
    assert job.completed_at is not None
    (request,) = engine.__dict__["asked"]
    assert (request.method, request.url.path) == ("POST", "/api/pull")
    assert json.loads(request.content) == {"model": "llama3.2", "name": "llama3.2", "stream": True}


@pytest.mark.parametrize(
    ("respond", "error"),
    [
        (lambda _: httpx.Response(500), "Ollama answered with status 500"),
        (lambda _: said({"error": "no such model"}), "Ollama said: no such model"),
        (lambda _: said({"status": "pulling"}), "Ollama ended before the model was there"),
        (lambda _: said({"error": "first"}, {"error": "second"}), "Ollama said: first"),
        (
            lambda _: streamed(gzip.compress(b'{"status":"success"}'), content_encoding="gzip"),
            "Ollama's answer cannot be read: the answer is encoded (gzip)",
        ),
        (
            lambda _: streamed(*[b"x" * 9_999] * 100),
            "Ollama's answer cannot be read: a line is too long",
        ),
        (lambda request: raised(httpx.ConnectError("x", request=request)), "Ollama cannot be reached (ConnectError)"),
    ],
)
async def test_a_pull_that_fails_is_tried_three_times(autojump_clock, respond, error):
    engine = Ollama(respond)
    job, told = await pulled(engine)
    assert (job.status, job.error, told) == ("error", f"{error} (attempt 3 of 3)", 0)
    assert len(engine.__dict__["asked"]) == 3
    assert trio.current_time() == pytest.approx(6, abs=0.5)


async def test_lines_are_put_together_however_they_come(autojump_clock):
    text = b'{"status":"pulling","completed":5}\r\n\n{"status":"success"}'
    for size in (1, 7, 100):
        pieces = [text[at : at + size] for at in range(0, len(text), size)]
        job, told = await pulled(Ollama(lambda _, pieces=pieces: streamed(*pieces)))
        assert (job.status, told) == ("success", 1)


async def test_a_pull_may_take_many_small_lines(autojump_clock):
    lines = [b'{"status":"pulling","completed":%d}\n' % number for number in range(3_000)]
    job, _ = await pulled(Ollama(lambda _: streamed(*lines, b'{"status":"success"}\n')))
    assert job.status == "success"


async def test_what_a_deletion_is_answered_with_is_not_read():
    unread = streamed(b"x", status=200, content_encoding="gzip")
    await delete_model(Ollama(lambda _: unread), "m")
    assert not unread.is_stream_consumed


def raised(error: Exception) -> httpx.Response:
    raise error


async def test_only_so_many_run_at_a_time(autojump_clock, nursery):
    async def wait(_: httpx.Request) -> httpx.Response:
        await trio.sleep_forever()
        raise AssertionError

    jobs = PullJobs(lambda: 0.0)
    for number in range(MOST_RUNNING):
        jobs.start(nursery, 1, Ollama(wait), f"m{number}", nothing)
    with pytest.raises(Problem) as refused:
        jobs.start(nursery, 1, Ollama(wait), "one more", nothing)
    assert refused.value.status == 429
    nursery.cancel_scope.cancel()


async def test_only_so_many_are_remembered(autojump_clock, monkeypatch):
    monkeypatch.setattr(pulls, "KEPT_JOBS", 3)
    jobs, started = PullJobs(lambda: 0.0), []
    for number in range(8):
        async with trio.open_nursery() as inner:
            started.append(jobs.start(inner, 1, Ollama(lambda _: said({"status": "success"})), f"m{number}", nothing))
    assert [jobs.find(1, each.job_id) is None for each in started] == [True] * 5 + [False] * 3


@pytest.mark.parametrize(
    ("response", "status"),
    [(httpx.Response(200), None), (httpx.Response(404), 404), (httpx.Response(500), 502)],
)
async def test_a_model_is_deleted_or_it_is_said_why_not(response, status):
    engine = Ollama(lambda _: response)
    if status is None:
        await delete_model(engine, "llama3.2")
        (request,) = engine.__dict__["asked"]
        assert (request.method, request.url.path) == ("DELETE", "/api/delete")
    else:
        with pytest.raises(Problem) as refused:
            await delete_model(engine, "llama3.2")
        assert refused.value.status == status


async def test_an_engine_that_does_not_answer_is_a_502(autojump_clock):
    async def wait(_: httpx.Request) -> httpx.Response:
        await trio.sleep_forever()
        raise AssertionError

    with pytest.raises(Problem) as refused:
        await delete_model(Ollama(wait), "m")
    assert refused.value.status == 502


def test_lines_that_are_none_are_passed_over():
    job = PullJob(job_id="1", model="m", ollama_url="u", started_at="")
    for line in ("", "{", "[]", '{"total": "x"}', b"\xff", b'{"x":' + b"[" * 100_000):
        take_line(job, line)
    assert job.progress == pulls.Progress()
    assert take_line(job, '{"error": "x"}') == "x"


async def test_an_engine_with_a_key_is_shown_it():
    async with Engine("http://ollama", "sk-1").open_client() as client:
        assert client.headers["Authorization"] == "Bearer sk-1"
        assert client.headers["Accept-Encoding"] == "identity"
    async with Engine("http://ollama").open_client() as client:
        assert "Authorization" not in client.headers
