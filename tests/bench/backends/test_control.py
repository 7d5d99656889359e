import json

import pytest

from bench.backends.control import Control
from bench.backends.faults import FaultPlan
from bench.backends.transcript import Transcript
from bench.http1 import Request

from .engine_bench import NotingPeer, engine_of, work


class Door:
    def __init__(self, is_listening=True):
        self.is_listening = is_listening
        self.refused = []

    def refuse(self, seconds, now):
        self.refused.append((seconds, now))
        return self.is_listening


def ask(path, body=None, door=None, setup=lambda engine, transcript: None):
    engine, _, stats = engine_of(kind="ollama")
    transcript, faults = Transcript(), FaultPlan(1)
    setup(engine, transcript)
    made = Control(door or Door(), engine, stats, faults, transcript)
    data = made.answer(Request(b"POST", f"/_mock/{path}".encode(), b"", json.dumps(body).encode() if body else b""), 7)
    head, _, answer = data.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(answer), faults


def test_requests_can_be_asked_for_by_number_and_id():
    def note(_engine, transcript):
        for name in (b"AA", b"bb"):
            transcript.note(Request(b"POST", b"/x", b"post\r\nx-request-id: " + name.lower(), b""), None, 200)

    assert [shown["request_id"] for shown in ask("requests?last=1", setup=note)[1]] == ["bb"]
    assert [shown["order"] for shown in ask("requests?id=AA", setup=note)[1]] == [1]
    assert ask("requests?last=x")[0] == 400


def test_loads_of_models_are_shown():
    def load(engine, _transcript):
        engine.submit(work(tokens=1, num_ctx=8192), NotingPeer(), None, 0)

    models = ask("stats", setup=load)[1]["models"]
    assert models == {"m": {"is_loaded": True, "num_ctx": 8192, "loads": 1, "context_reloads": 0}}


def test_a_reset_forgets_counters_and_requests():
    status, answer, _ = ask("reset", setup=lambda engine, _: engine.residency.lane_of("m"))
    assert (status, answer) == (200, {})


@pytest.mark.parametrize("is_listening", [True, False])
def test_refusing_is_the_listeners(is_listening):
    door = Door(is_listening)
    assert ask("refuse", {"seconds": 2}, door)[0] == (200 if is_listening else 409)
    assert door.refused == [(2.0, 7)]


def test_rules_are_set_checked_and_cleared():
    status, answer, faults = ask("faults", [{"kind": "html", "count": 2}])
    assert (status, answer, faults.rules[0].left) == (200, {"rules": 1}, 2)
    assert ask("faults", {"kind": "?"})[0] == 400
    assert ask("faults")[1] == {"rules": 0}


def test_other_routes_are_unknown():
    assert ask("nonsense")[0] == 404
