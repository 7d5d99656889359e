import socket
import time

import pytest

from bench.answers import Answer, TokenStream
from bench.client import Client, Job
from bench.reactor import Reactor
from bench.workload import RequestSpec, encode_get, encode_request

pytestmark = pytest.mark.slow


@pytest.fixture
def reactor():
    made = Reactor()
    yield made
    made.close()


def run_jobs(reactor, target, jobs):
    client = Client(reactor, target[0], target[1])
    left = set(jobs)

    def done(job):
        left.discard(job)
        if not left:
            reactor.stop()

    for job in jobs:
        job.on_done = done
        client.start(job)
    reactor.run_until(time.monotonic_ns() + 5_000_000_000)
    assert not left
    return client


def job_of(payload, answer):
    return Job(payload, answer, lambda _job: None)


def test_streams_arrive_whole_and_in_order(reactor, engine):
    delays = []
    payload = encode_request(RequestSpec(stream=True, max_tokens=50))
    jobs = [job_of(payload, TokenStream(delays.append)) for _ in range(20)]
    client = run_jobs(reactor, (engine.host, engine.port), jobs)
    assert [job.answer.tokens for job in jobs] == [50] * 20
    assert all(job.answer.is_complete and not job.error for job in jobs)
    assert all(0 < delay < 1_000_000_000 for delay in delays)
    assert len(delays) == 1000
    client.close()


def test_connections_are_used_again(reactor, engine):
    client = Client(reactor, engine.host, engine.port)
    answered = []

    def again(job):
        answered.append(job.answer.status)
        if len(answered) == 5:
            reactor.stop()
        else:
            client.start(Job(encode_get("/health", "h"), Answer(), again))

    client.start(Job(encode_get("/health", "h"), Answer(), again))
    reactor.run()
    assert answered == [200] * 5
    assert client.connections_opened == 1
    client.close()


def test_a_refused_connection_is_an_error_of_the_job(reactor):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
    job = job_of(b"GET / HTTP/1.1\r\n\r\n", Answer())
    run_jobs(reactor, address, [job])
    assert "ECONNREFUSED" in job.error


@pytest.mark.parametrize("fault", ["reset_stream:2", "truncate:2", "malformed", "refuse"])
def test_a_fault_is_an_error_of_the_job(reactor, engine, fault):
    payload = encode_request(RequestSpec(model=f"mock-8b!{fault}", stream=True, max_tokens=50))
    job = job_of(payload, TokenStream(lambda _delay: None))
    run_jobs(reactor, (engine.host, engine.port), [job])
    assert job.error


def test_an_abandoned_job_closes_its_connection_silently(reactor, engine):
    client = Client(reactor, engine.host, engine.port)
    done = []
    job = Job(encode_request(RequestSpec(stream=True, max_tokens=5000)), TokenStream(lambda _delay: None), done.append)
    client.start(job)
    reactor.run_until(time.monotonic_ns() + 20_000_000)
    client.abandon(job)
    assert not client.connections
    assert not done
