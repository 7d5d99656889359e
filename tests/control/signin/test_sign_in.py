"""Signing in under attack: who waits, how long, and who never does."""

import pytest
import trio
import trio.testing
from argon2 import PasswordHasher

from mrproxy.control.signin.passwords import TooBusy
from mrproxy.control.signin.throttle import FREE_ADDRESS_FAILURES, FREE_FAILURES, LONGEST_WAIT_SECONDS
from mrproxy.storage.people.values import User
from tests.control.signin.conftest import API, AUDIT, PASSWORD, House, Visit, make_house

pytestmark = pytest.mark.slow


async def fail(house: House, name: str, times: int, first_address: int = 0) -> list[int]:
    """Wrong passwords from many addresses."""
    visits = [
        house.visit(address=f"198.51.{(first_address + n) // 250}.{(first_address + n) % 250}") for n in range(times)
    ]
    return [(await visit.sign_in(name, "wrong password")).status_code for visit in visits]


@pytest.mark.parametrize("name", ["ada", "nobody"])
async def test_after_a_few_failures_a_name_waits_whether_anybody_has_it_or_not(
    house: House, ada: User, name: str
) -> None:
    assert await fail(house, name, FREE_FAILURES) == [401] * FREE_FAILURES
    before = house.passwords.verifications
    response = await house.visit().sign_in(name)
    assert (response.status_code, response.headers["Retry-After"]) == (429, "1")
    assert (await response.get_json())["detail"] == "Too many attempts failed. Please wait."
    assert house.passwords.verifications == before  # nobody learns whether the password was right


async def test_an_address_waits_that_tries_many_names(house: House, ada: User) -> None:
    visit = house.visit()
    for number in range(FREE_ADDRESS_FAILURES):
        assert (await visit.sign_in(f"name{number}", "wrong password")).status_code == 401
    assert (await visit.sign_in()).status_code == 429
    assert (await house.visit(address="203.0.113.1").sign_in()).status_code == 201


async def test_a_hundred_tries_at_once_are_a_hundred(house: House, ada: User) -> None:
    statuses: list[int] = []

    async def guess(visit: Visit) -> None:
        statuses.append((await visit.sign_in("ada", "wrong password")).status_code)

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(guess, house.visit(address=f"198.51.100.{number}"))
    assert sorted(statuses) == [401] * FREE_FAILURES + [429] * (20 - FREE_FAILURES)


async def test_waiting_helps_and_a_success_forgets(house: House, ada: User, mock_clock: trio.testing.MockClock) -> None:
    await fail(house, "ada", FREE_FAILURES + 1)
    mock_clock.jump(2)
    house.clock.now_utc += 2
    assert (await house.visit().sign_in()).status_code == 201
    assert await fail(house, "ada", FREE_FAILURES, 50) == [401] * FREE_FAILURES


async def test_a_lock_outlives_the_process(house: House, ada: User) -> None:
    await fail(house, "ada", FREE_FAILURES)
    after_restart = make_house(house.store, house.data_dir)
    response = await after_restart.visit().sign_in()
    assert response.status_code == 429
    after_restart.clock.now_utc += 2
    assert (await after_restart.visit().sign_in()).status_code == 201
    (row,) = await house.rows("SELECT failed_logins, locked_until_utc, last_login_utc FROM users")
    assert (row.failed_logins, row.locked_until_utc) == (0, None)


async def test_the_last_administrator_cannot_be_locked_out_where_he_was_before(house: House, root: User) -> None:
    desk = house.visit(address="203.0.113.1")
    assert (await desk.sign_in("root")).status_code == 201
    assert (await desk.ask("DELETE", f"{API}/session", headers=desk.csrf)).status_code == 204
    for day in range(3):
        await fail(house, "root", FREE_FAILURES + 3, day * 100)
        assert (await house.visit(address="203.0.113.2").sign_in("root")).status_code == 429
        assert (await desk.sign_in("root")).status_code == 201
        house.clock.now_utc += 86_400


async def test_a_known_device_is_throttled_by_itself(house: House, root: User) -> None:
    stolen = house.visit()
    await stolen.sign_in("root")
    for _ in range(FREE_FAILURES):
        assert (await stolen.sign_in("root", "wrong password")).status_code == 401
    assert (await stolen.sign_in("root")).status_code == 429


async def test_a_device_is_known_for_its_own_user_only(house: House, ada: User, root: User) -> None:
    visit = house.visit()
    await visit.sign_in("ada")
    await fail(house, "root", FREE_FAILURES)
    assert (await visit.sign_in("root")).status_code == 429


async def test_nobody_waits_longer_than_a_quarter_of_an_hour(
    house: House, ada: User, mock_clock: trio.testing.MockClock
) -> None:
    for number in range(30):
        response = await house.visit(address=f"198.51.100.{number}").sign_in("ada", "wrong password")
        if response.status_code == 429:
            wait_seconds = float(response.headers["Retry-After"])
            assert wait_seconds <= LONGEST_WAIT_SECONDS
            mock_clock.jump(wait_seconds)
            house.clock.now_utc += wait_seconds
    mock_clock.jump(LONGEST_WAIT_SECONDS)
    house.clock.now_utc += LONGEST_WAIT_SECONDS
    assert (await house.visit(address="203.0.113.1").sign_in()).status_code == 201


async def test_the_owner_of_the_data_directory_is_never_locked_out(house: House, root: User) -> None:
    await fail(house, "root", FREE_FAILURES + 5)
    response = await house.app.test_client(use_cookies=False).post(f"{API}/for-admins")
    assert response.status_code == 200


async def test_a_database_that_is_away_counts_no_failures(house: House, ada: User) -> None:
    house.store.is_away = True
    for _ in range(FREE_FAILURES * 2):
        assert (await house.visit().sign_in()).status_code == 503
    house.store.is_away = False
    assert (await house.visit().sign_in()).status_code == 201


async def test_a_crowd_is_sent_away_and_has_not_failed(
    house: House, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def too_busy(*_: object) -> None:
        raise TooBusy

    with monkeypatch.context() as patched:
        patched.setattr(house.passwords, "verify", too_busy)
        for _ in range(FREE_FAILURES * 2):
            response = await house.visit().sign_in()
            assert (response.status_code, response.headers["Retry-After"]) == (503, "2")
    assert (await house.visit().sign_in()).status_code == 201


async def test_a_password_is_hashed_anew_when_the_parameters_have_changed(house: House) -> None:
    old = PasswordHasher(time_cost=1, memory_cost=32, parallelism=1).hash(PASSWORD)
    user = await house.add_user("old")
    await house.change(user, password_hash=old)
    assert (await house.visit().sign_in("old")).status_code == 201
    (row,) = await house.rows("SELECT password_hash FROM users")
    assert "m=64," in row.password_hash
    assert (await house.visit().sign_in("old")).status_code == 201


async def test_failures_are_noted_with_the_address_that_they_came_from(house: House, ada: User) -> None:
    await fail(house, "ada", 2)
    rows = await house.rows(AUDIT)
    assert [(row.action, row.actor_kind, row.address) for row in rows] == [
        ("auth.login_failure", "anonymous", "198.51.0.0"),
        ("auth.login_failure", "anonymous", "198.51.0.1"),
    ]
