"""Asking workers over real Unix sockets; the deadline in virtual time."""

from pathlib import Path

import pytest
import trio
import trio.testing

from mrproxy.control.reports import Silent, WorkerReport
from mrproxy.control.workers import ANSWER_DEADLINE_SECONDS, FRESH_SECONDS, Workers
from tests.fakes.worker import FakeWorker, report


async def start(nursery: trio.Nursery, directory: Path, name: str, body: object, status: int = 200) -> FakeWorker:
    worker = FakeWorker(directory, name, body, status=status)
    await nursery.start(worker.serve)
    return worker


async def test_workers_are_found_by_their_sockets_and_answer_in_the_order_of_their_names(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    for name in ("b", "a"):
        await start(nursery, tmp_path, name, report(worker=name))
    (tmp_path / "control.sock").touch()
    answers = await Workers(tmp_path).ask()
    assert [answer.worker for answer in answers] == ["a", "b"]
    assert all(isinstance(answer, WorkerReport) for answer in answers)


async def test_no_directory_is_no_workers(tmp_path: Path) -> None:
    assert await Workers(tmp_path / "nowhere").ask() == ()


async def test_a_socket_nobody_listens_on_is_gone(tmp_path: Path, nursery: trio.Nursery) -> None:
    async with trio.open_nursery() as short:
        await start(short, tmp_path, "0", report())
        short.cancel_scope.cancel()
    (answer,) = await Workers(tmp_path).ask()
    assert isinstance(answer, Silent)
    assert answer.gone
    assert answer.reason.startswith("nobody listens")


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"not json", 200, "not understood"),
        (b"", 200, "not understood"),
        ({"no": "worker"}, 200, "not understood"),
        ({"worker": "0", "counters": {"a": "many"}}, 200, "not understood"),
        ({}, 500, "answered with status 500"),
    ],
)
async def test_a_worker_that_talks_nonsense_is_silent_with_a_reason(
    tmp_path: Path, nursery: trio.Nursery, body: object, status: int, reason: str
) -> None:
    await start(nursery, tmp_path, "0", body, status)
    (answer,) = await Workers(tmp_path).ask()
    assert isinstance(answer, Silent)
    assert not answer.gone
    assert reason in answer.reason


async def test_a_hung_worker_is_given_up_at_the_deadline_and_the_others_are_heard(
    tmp_path: Path, nursery: trio.Nursery, mock_clock: trio.testing.MockClock
) -> None:
    hung = await start(nursery, tmp_path, "0", None)
    await start(nursery, tmp_path, "1", report(worker="1"))
    answers: list[object] = []

    async def ask() -> None:
        answers.extend(await Workers(tmp_path).ask())

    async with trio.open_nursery() as asking:
        asking.start_soon(ask)
        while not hung.asked:
            await trio.testing.wait_all_tasks_blocked(0.005)
        mock_clock.jump(ANSWER_DEADLINE_SECONDS)
    assert isinstance(answers[0], Silent)
    assert isinstance(answers[1], WorkerReport)


async def test_many_askers_ask_a_worker_once(
    tmp_path: Path, nursery: trio.Nursery, mock_clock: trio.testing.MockClock
) -> None:
    worker = await start(nursery, tmp_path, "0", report())
    workers = Workers(tmp_path)
    async with trio.open_nursery() as asking:
        for _ in range(20):
            asking.start_soon(workers.ask)
    assert worker.asked == 1
    mock_clock.jump(FRESH_SECONDS)
    await workers.ask()
    assert worker.asked == 2


async def test_a_cancelled_asker_leaves_the_question_to_the_next(
    tmp_path: Path, nursery: trio.Nursery, mock_clock: trio.testing.MockClock
) -> None:
    worker = await start(nursery, tmp_path, "0", None)
    workers = Workers(tmp_path)
    with trio.CancelScope() as first:
        nursery.start_soon(cancel_when_asked, worker, first)
        await workers.ask()
    assert first.cancelled_caught
    worker.body = report()
    (answer,) = await workers.ask()
    assert isinstance(answer, WorkerReport)


async def cancel_when_asked(worker: FakeWorker, scope: trio.CancelScope) -> None:
    while not worker.asked:
        await trio.testing.wait_all_tasks_blocked(0.005)
    scope.cancel()


async def test_a_command_goes_to_every_worker_and_what_it_changed_is_seen_at_once(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    first, second = [await start(nursery, tmp_path, name, report(worker=name)) for name in "01"]
    workers = Workers(tmp_path)
    await workers.ask()
    assert await workers.tell("POST", "/backends/gpu%2Fa/drain") == {"0": b"{}", "1": b"{}"}
    assert first.commands == second.commands == ["POST /backends/gpu%2Fa/drain"]
    await workers.ask()
    assert (first.asked, second.asked) == (2, 2)


async def test_a_worker_that_does_not_take_a_command_says_why(tmp_path: Path, nursery: trio.Nursery) -> None:
    async with trio.open_nursery() as short:
        await start(short, tmp_path, "0", report())
        short.cancel_scope.cancel()
    answer = (await Workers(tmp_path).tell("POST", "/reload"))["0"]
    assert isinstance(answer, Silent)
    assert answer.gone
