"""Shell. `mrproxy top`, once and live."""

import json

import pytest

from mrproxy.cli.client import Api, Place
from mrproxy.cli.top import watch
from tests.cli.test_status import STATUS
from tests.fakes.api_server import Answer, problem

FLOW = {"flow_id": "user:zoë", "weight": 2, "waiting": 3, "in_flight": 1, "deficit_tokens": 9}
QUEUE = {"workers": [{"worker": "0", "flows": [{"model": "m1", "waiting": 3, "flows": [FLOW]}], "error": None}]}


def test_on_a_pipe_it_is_printed_once(api, run):
    api.answers |= {"GET /status": STATUS, "GET /queue": QUEUE}
    lines = run("top").stdout.splitlines()
    assert [line for line in lines if line.startswith("#")] == ["# backends", "# models", "# callers that wait"]
    assert lines[-1] == "user:zoë\tm1\t3\t1\t2\t9"
    assert json.loads(run("top", "--json").stdout)["queue"] == QUEUE["workers"]


def test_who_may_not_see_the_queue_sees_the_rest(api, run):
    api.answers["GET /status"] = STATUS
    api.answers["GET /queue"] = problem(403, "forbidden", "You may not do this", "This needs queue.read.")
    result = run("top", "--once")
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "You may not do this: This needs queue.read.")


def test_live_it_is_looked_at_again_and_a_gateway_that_is_away_is_said(there, monkeypatch):
    there.answers |= {"GET /status": [STATUS, Answer(hang_up=True), Answer(hang_up=True), STATUS], "GET /queue": QUEUE}
    naps = iter([None, None, KeyboardInterrupt])

    def sleep(_seconds):
        if (found := next(naps)) is not None:
            raise found

    monkeypatch.setattr("mrproxy.cli.top.time.sleep", sleep)
    with pytest.raises(KeyboardInterrupt):
        watch(Api(Place(5, url=there.url)), 1)
    assert there.targets().count("GET /status") == 4


def test_ctrl_c_ends_it_without_an_error(api, run, monkeypatch):
    monkeypatch.setattr("mrproxy.cli.top.watch", interrupted)
    monkeypatch.setattr("mrproxy.cli.top.is_terminal", lambda: True)
    result = run("top")
    assert (result.exit_code, result.output) == (0, "")


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt
