import time

import pytest

from bench.client import Client
from bench.loads import JsonLoad, StreamLoad
from bench.reactor import Reactor
from bench.workload import RequestSpec, encode_request

pytestmark = pytest.mark.slow


def run_for(reactor, seconds):
    reactor.run_until(time.monotonic_ns() + int(seconds * 1e9))


@pytest.fixture
def reactor():
    made = Reactor()
    yield made
    made.close()


def test_json_load_counts_what_ends_within_the_window(reactor, engine):
    load = JsonLoad(Client(reactor, engine.host, engine.port), encode_request(RequestSpec(max_tokens=2)), 4)
    load.open()
    run_for(reactor, 0.05)
    load.open_window()
    run_for(reactor, 0.1)
    window = load.close_window()
    load.close()
    assert window.count == len(window.delays_ns) > 10
    assert window.errors == []


def test_stream_load_counts_tokens_of_all_streams(reactor, engine):
    payload = encode_request(RequestSpec(stream=True, max_tokens=100_000))
    load = StreamLoad(Client(reactor, engine.host, engine.port), payload, 5, reactor)
    load.open(0.02)
    run_for(reactor, 0.1)
    load.open_window()
    run_for(reactor, 0.1)
    window = load.close_window()
    load.close()
    assert load.flowing == 5
    assert window.count > 100
    assert window.errors == []


def test_failures_are_errors_of_the_window(reactor, engine):
    client = Client(reactor, engine.host, engine.port)
    load = JsonLoad(client, encode_request(RequestSpec(model="nope")), 1)
    load.open()
    load.open_window()
    run_for(reactor, 0.02)
    assert "status 404" in load.close_window().errors[0]
    load.close()
    streams = StreamLoad(client, encode_request(RequestSpec(model="nope", stream=True)), 1, reactor)
    streams.open(0.0)
    streams.open_window()
    run_for(reactor, 0.02)
    errors = streams.close_window().errors
    assert "status 404" in errors[0]
    assert "never sent a token" in errors[1]
    streams.close()
