"""How long guesses wait."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.control.signin import throttle as rules
from mrproxy.control.signin.throttle import Throttle, lock_after, lock_left, network_of, wait_after

HERE, THERE = "192.0.2.1", "192.0.2.2"
DAY_SECONDS = 24 * 3600.0


def failed(throttle: Throttle, times: int, account: str = "ada", address: str = HERE, now: float = 0.0) -> None:
    for _ in range(times):
        assert throttle.begin(account, address, now) == 0


def test_the_first_failures_are_free() -> None:
    throttle = Throttle()
    failed(throttle, rules.FREE_FAILURES)
    assert throttle.begin("ada", HERE, 0.0) == rules.FIRST_WAIT_SECONDS


def test_waiting_doubles_up_to_a_cap() -> None:
    waits = [wait_after(failures) for failures in range(rules.FREE_FAILURES, 40)]
    assert waits[:4] == [1, 2, 4, 8]
    assert waits == sorted(waits)
    assert waits[-1] == rules.LONGEST_WAIT_SECONDS


def test_who_waits_long_enough_may_try_again() -> None:
    throttle = Throttle()
    failed(throttle, rules.FREE_FAILURES)
    assert throttle.begin("ada", HERE, 0.5) == 0.5
    assert throttle.begin("ada", HERE, 1.0) == 0


def test_a_refused_try_does_not_make_the_wait_longer() -> None:
    throttle = Throttle()
    failed(throttle, rules.FREE_FAILURES)
    waits = {throttle.begin("ada", HERE, 0.0) for _ in range(100)}
    assert waits == {rules.FIRST_WAIT_SECONDS}


def test_success_forgets_the_accounts_failures() -> None:
    throttle = Throttle()
    failed(throttle, rules.FREE_FAILURES)
    throttle.succeeded("ada", HERE)
    failed(throttle, rules.FREE_FAILURES)


def test_success_does_not_buy_an_address_tries_at_others() -> None:
    throttle = Throttle()
    for number in range(rules.FREE_ADDRESS_FAILURES - 1):
        failed(throttle, 1, f"user{number}")
        failed(throttle, 1, "mine")
        throttle.succeeded("mine", HERE)
    failed(throttle, 1, "the last one")
    assert throttle.begin("one more", HERE, 0.0) > 0
    assert throttle.begin("one more", THERE, 0.0) == 0


def test_an_address_gets_a_try_back_in_a_while() -> None:
    throttle = Throttle()
    for number in range(rules.FREE_ADDRESS_FAILURES):
        failed(throttle, 1, f"user{number}")
    assert throttle.begin("x", HERE, 0.0) == rules.ADDRESS_REFUND_SECONDS
    assert throttle.begin("x", HERE, rules.ADDRESS_REFUND_SECONDS) == 0
    assert throttle.begin("y", HERE, rules.ADDRESS_REFUND_SECONDS) > 0


def test_an_account_is_slowed_down_however_many_addresses_try() -> None:
    throttle, now, tries = Throttle(), 0.0, 0
    while now < DAY_SECONDS:
        wait = throttle.begin("admin", f"192.0.{tries % 256}.{tries // 256}", now)
        now += wait
        tries += wait == 0
    assert tries <= 115  # NIST's hundred, and the first ones that ramp up


def test_a_device_that_is_known_is_not_kept_waiting_by_strangers() -> None:
    throttle, now = Throttle(), 0.0
    for number in range(1000):
        now += throttle.begin("admin", f"198.51.{number % 256}.{number // 256}", now)
        assert throttle.begin(f"device {number}", HERE, now) == 0
        throttle.succeeded(f"device {number}", HERE)


def test_what_came_to_nothing_is_taken_back() -> None:
    throttle = Throttle()
    for _ in range(100):
        failed(throttle, 1)
        throttle.undo("ada", HERE)


def test_memory_is_bounded() -> None:
    throttle = Throttle(max_keys=10)
    for number in range(100):
        throttle.begin(f"user{number}", f"10.0.0.{number}", float(number))
    assert len(throttle) == 20


def test_a_user_row_counts_as_memory_does() -> None:
    failures, until, now = 0, None, 1000.0
    for _ in range(rules.FREE_FAILURES - 1):
        failures, until = lock_after(failures, until, now)
        assert until is None
    for expected in (1, 2, 4, 8):
        failures, until = lock_after(failures, until, now)
        assert lock_left(until, now) == expected
    assert lock_left(until, now + 8) == 0


def test_a_row_forgets_after_a_day() -> None:
    assert lock_after(50, 1000.0, 1000.0 + DAY_SECONDS + 1) == (1, None)


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_no_clock_makes_a_lock_endless(until: float, now: float) -> None:
    assert 0 <= lock_left(until, now) <= rules.LONGEST_WAIT_SECONDS


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("", ""),
        ("no address", "no address"),
    ],
)
def test_addresses_are_counted_as_networks(address: str, network: str) -> None:
    assert network_of(address) == network


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([HERE, THERE]), st.floats(0, 100), st.booleans())))
def test_nobody_waits_longer_than_the_longest_wait(tries: list[tuple[str, str, float, bool]]) -> None:
    throttle, now = Throttle(), 0.0
    for account, address, later, succeeds in tries:
        now += later
        wait = throttle.begin(account, address, now)
        assert 0 <= wait <= rules.LONGEST_WAIT_SECONDS
        if wait == 0 and succeeds:
            throttle.succeeded(account, address)
