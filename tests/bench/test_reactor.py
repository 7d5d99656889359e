import socket
import time

import pytest

from bench.reactor import Reactor


@pytest.fixture
def reactor():
    made = Reactor()
    yield made
    made.close()


def test_timers_fire_in_order_and_say_when_they_are_due_again(reactor):
    start = time.monotonic_ns()
    fired = []

    def again(due):
        fired.append("again")
        return due + 1_000_000 if len(fired) < 3 else 0

    def last(_due):
        fired.append("last")
        reactor.stop()
        return 0

    reactor.call_at(start + 8_000_000, last)
    reactor.call_at(start, again)
    reactor.run()
    assert fired == ["again", "again", "again", "last"]


def test_a_timer_may_add_timers_that_are_due_already(reactor):
    fired = []

    def second(_due):
        fired.append("second")
        reactor.stop()
        return 0

    def first(_due):
        reactor.call_at(0, second)
        fired.append("first")
        return 0

    reactor.call_at(time.monotonic_ns(), first)
    reactor.run()
    assert fired == ["first", "second"]


def test_run_until_ends_at_its_time_without_anything_else_to_do(reactor):
    due = time.monotonic_ns() + 5_000_000
    reactor.run_until(due)
    assert time.monotonic_ns() >= due


def test_a_socket_that_becomes_readable_calls_its_handler(reactor):
    near, far = socket.socketpair()
    with near, far:
        reactor.register(near.fileno(), lambda _events: reactor.stop())
        reactor.call_at(time.monotonic_ns(), lambda _due: far.send(b"x") * 0)
        reactor.run()
        reactor.unregister(near.fileno())
        assert near.recv(1) == b"x"
