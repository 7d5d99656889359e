"""Signing in and out by the API: what a session is worth, to whom, and for how long."""

import pytest

from mrproxy.control.signin.cookies import Jar, Kind
from mrproxy.storage.people.values import User
from tests.control.signin.conftest import API, AUDIT, PASSWORD, House

pytestmark = pytest.mark.slow

NEW = "another long password"


async def test_a_password_opens_a_session(house: House, ada: User) -> None:
    visit = house.visit()
    response = await visit.sign_in("ADA")
    assert response.status_code == 201
    shown = await response.get_json()
    assert (shown["name"], shown["id"], shown["roles"]) == ("Ada", ada.uuid, ["member"])
    assert shown["csrf_token"] == visit.cookie(Kind.CSRF)
    me = await (await visit.who()).get_json()
    assert (me["kind"], me["name"], me["email"]) == ("user", "Ada", "ada@example.edu")


async def test_nobody_is_asked_to_sign_in(house: House) -> None:
    response = await house.visit().who()
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize(("name", "password"), [("ada", "wrong password"), ("nobody", PASSWORD), ("", "x"), ("a", "")])
async def test_a_wrong_name_and_a_wrong_password_are_answered_alike(
    house: House, ada: User, name: str, password: str
) -> None:
    response = await house.visit().sign_in(name, password)
    if not name or not password:
        assert response.status_code == 422
        return
    body = await response.get_json()
    assert (response.status_code, body["detail"]) == (401, "The name or the password is wrong.")
    assert "Set-Cookie" not in response.headers


async def test_the_work_is_the_same_whoever_asks(house: House, ada: User) -> None:
    await house.add_user("elsewhere", password=None)
    inactive = await house.add_user("gone")
    await house.change(inactive, is_active=False)
    answers = set()
    for name in ("ada", "nobody", "elsewhere", "gone"):
        before = house.passwords.verifications
        response = await house.visit(address=f"192.0.2.{len(name)}").sign_in(name, "wrong password")
        assert house.passwords.verifications == before + 1
        answers.add((response.status_code, (await response.get_json())["detail"]))
    assert len(answers) == 1


async def test_a_deactivated_user_cannot_sign_in_and_is_signed_out(house: House, ada: User) -> None:
    visit = house.visit()
    await visit.sign_in()
    await house.change(ada, is_active=False)
    assert (await visit.who()).status_code == 401
    assert (await house.visit().sign_in()).status_code == 401


async def test_signing_out_ends_the_session_and_not_only_the_cookie(house: House, ada: User) -> None:
    visit = house.visit()
    await visit.sign_in()
    kept = dict(visit.cookies)
    assert (await visit.ask("DELETE", f"{API}/session", headers=visit.csrf)).status_code == 204
    assert Jar(house.parts.session_api.sign_in.sessions.keys, False).name(Kind.SESSION) not in visit.cookies
    visit.cookies = kept
    assert (await visit.who()).status_code == 401


async def test_a_session_that_a_browser_brings_along_is_not_the_one_it_gets(house: House, ada: User) -> None:
    await house.add_user("mallory")
    mallory, victim = house.visit(), house.visit()
    await mallory.sign_in("mallory")
    planted = dict(mallory.cookies)
    victim.cookies = dict(planted)
    await victim.sign_in("ada")
    assert victim.cookie(Kind.SESSION) != planted["mrproxy_session"]
    assert (await (await victim.who()).get_json())["name"] == "Ada"
    mallory.cookies = planted
    assert (await mallory.who()).status_code == 401  # and the planted one has ended


async def test_a_session_ends_some_time_after_it_began_however_much_it_is_used(house: House, ada: User) -> None:
    visit = house.visit()
    await visit.sign_in()
    for _ in range(7 * 4 - 1):
        house.clock.now_utc += 6 * 3600
        assert (await visit.who()).status_code == 200
    house.clock.now_utc += 6 * 3600
    assert (await visit.who()).status_code == 401


async def test_a_session_that_nobody_uses_ends_sooner(house: House, ada: User) -> None:
    visit = house.visit()
    await visit.sign_in()
    house.clock.now_utc += 12 * 3600 + 1
    assert (await visit.who()).status_code == 401


async def test_a_clock_that_is_set_back_signs_nobody_out(house: House, ada: User) -> None:
    visit = house.visit()
    await visit.sign_in()
    house.clock.now_utc -= 24 * 3600
    assert (await visit.who()).status_code == 200


async def test_a_role_that_changes_counts_at_the_next_request(house: House, ada: User, root: User) -> None:
    visit = house.visit()
    await visit.sign_in()
    assert (await visit.ask("POST", f"{API}/for-admins", headers=visit.csrf)).status_code == 403
    await house.change(ada, group_id=root.group_id)
    assert (await visit.ask("POST", f"{API}/for-admins", headers=visit.csrf)).status_code == 200


async def test_forged_cookies_do_not_reach_the_database(house: House, ada: User) -> None:
    visit = house.visit()
    await visit.sign_in()
    token, _, signature = visit.cookies["mrproxy_session"].rpartition(".")
    house.store.is_away = True  # whoever asks it, fails
    for forged in (f"{token}x.{signature}", f"{token}.{signature[:-2]}AA", token, "x", "é", "." * 4000):
        visit.cookies["mrproxy_session"] = forged
        assert (await visit.who()).status_code == 401


async def test_a_good_cookie_without_a_database_is_not_refused_but_told_so(house: House, ada: User) -> None:
    visit = house.visit()
    await visit.sign_in()
    house.store.is_away = True
    response = await visit.who()
    assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
    response = await house.visit().sign_in()
    assert response.status_code == 503
    house.store.is_away = False
    assert (await visit.who()).status_code == 200


async def test_a_change_needs_the_token_of_its_own_session(house: House, ada: User) -> None:
    mine, others = house.visit(), house.visit()
    await mine.sign_in()
    await others.sign_in()
    path = f"{API}/for-members"
    assert (await mine.ask("POST", path)).status_code == 403
    assert (await mine.ask("POST", path, headers={"X-CSRF-Token": "0" * 64})).status_code == 403
    assert (await mine.ask("POST", path, headers=others.csrf)).status_code == 403
    assert (await mine.ask("POST", path, headers=mine.csrf)).status_code == 200


@pytest.mark.parametrize(
    "foreign",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Referer": "https://evil.example/page"},
    ],
)
async def test_a_change_from_another_site_is_refused_even_with_the_token(
    house: House, ada: User, foreign: dict[str, str]
) -> None:
    visit = house.visit()
    await visit.sign_in()
    response = await visit.ask("POST", f"{API}/for-members", headers={**visit.csrf, **foreign})
    assert (response.status_code, (await response.get_json())["detail"]) == (
        403,
        "This request comes from another site.",
    )
    assert (await visit.ask("DELETE", f"{API}/session", headers=foreign)).status_code == 403
    signed_in = await house.visit().ask(
        "POST", f"{API}/session", headers=foreign, json={"name": "ada", "password": PASSWORD}
    )
    assert signed_in.status_code == 403


async def test_signing_out_without_the_token_is_refused_and_keeps_the_session(house: House, ada: User) -> None:
    visit = house.visit()
    await visit.sign_in()
    assert (await visit.ask("DELETE", f"{API}/session")).status_code == 403
    assert (await visit.who()).status_code == 200
    assert (await house.visit().ask("DELETE", f"{API}/session")).status_code == 204


async def test_over_tls_cookies_are_for_tls(house: House, ada: User) -> None:
    visit = house.visit(is_tls=True)
    response = await visit.sign_in()
    lines = response.headers.getlist("Set-Cookie")
    assert all(line.startswith("__Host-") and "; Secure" in line for line in lines)
    assert (await visit.who()).status_code == 200
    visit.is_tls = False
    assert (await visit.who()).status_code == 401


async def test_sessions_are_listed_and_ended_one_by_one_or_all(house: House, ada: User) -> None:
    here, there, elsewhere = house.visit(), house.visit(address="198.51.100.1"), house.visit()
    for visit in (here, there, elsewhere):
        await visit.sign_in()
    items = (await (await here.ask("GET", f"{API}/me/sessions")).get_json())["items"]
    assert sorted(item["is_current"] for item in items) == [False, False, True]
    other = next(item for item in items if item["address"] == "198.51.100.1")
    assert (other["user_agent"], other["kind"]) == ("a test", "cookie")
    assert (await here.ask("DELETE", f"{API}/me/sessions/{other['id']}", headers=here.csrf)).status_code == 204
    assert [(await visit.who()).status_code for visit in (here, there, elsewhere)] == [200, 401, 200]
    assert (await here.ask("DELETE", f"{API}/me/sessions", headers=here.csrf)).status_code == 204
    assert [(await visit.who()).status_code for visit in (here, there, elsewhere)] == [200, 401, 401]


async def test_nobody_ends_somebody_elses_session(house: House, ada: User) -> None:
    await house.add_user("mallory")
    mallory, victim = house.visit(), house.visit()
    await mallory.sign_in("mallory")
    await victim.sign_in()
    (item,) = (await (await victim.ask("GET", f"{API}/me/sessions")).get_json())["items"]
    response = await mallory.ask("DELETE", f"{API}/me/sessions/{item['id']}", headers=mallory.csrf)
    assert response.status_code == 404
    assert (await victim.who()).status_code == 200


async def test_a_new_password_ends_all_other_sessions_and_renews_this_one(house: House, ada: User) -> None:
    here, there = house.visit(), house.visit()
    await here.sign_in()
    await there.sign_in()
    old = dict(here.cookies)
    wanted = {"current_password": PASSWORD, "new_password": NEW}
    assert (await here.ask("POST", f"{API}/me/password", headers=here.csrf, json=wanted)).status_code == 204
    assert (await here.who()).status_code == 200
    assert (await there.who()).status_code == 401
    here.cookies = old
    assert (await here.who()).status_code == 401
    assert (await house.visit().sign_in("ada", PASSWORD)).status_code == 401
    assert (await house.visit().sign_in("ada", NEW)).status_code == 201


@pytest.mark.parametrize(
    ("wanted", "status"),
    [
        ({"current_password": "wrong password", "new_password": NEW}, 401),
        ({"current_password": PASSWORD, "new_password": "short"}, 422),
        ({"current_password": PASSWORD, "new_password": PASSWORD}, 422),
        ({"current_password": PASSWORD, "new_password": "Password123"}, 422),
        ({"new_password": ""}, 422),
        ({"current_password": PASSWORD, "new_password": NEW, "user": "root"}, 422),
    ],
)
async def test_a_password_is_not_changed_to_what_it_should_not_be(
    house: House, ada: User, wanted: dict[str, str], status: int
) -> None:
    visit = house.visit()
    await visit.sign_in()
    assert (await visit.ask("POST", f"{API}/me/password", headers=visit.csrf, json=wanted)).status_code == status
    assert (await house.visit().sign_in()).status_code == 201


async def test_only_who_has_just_signed_in_need_not_repeat_the_password(house: House, ada: User) -> None:
    visit = house.visit()
    await visit.sign_in()
    house.clock.now_utc += 601
    response = await visit.ask("POST", f"{API}/me/password", headers=visit.csrf, json={"new_password": NEW})
    assert response.status_code == 403
    await visit.sign_in()
    response = await visit.ask("POST", f"{API}/me/password", headers=visit.csrf, json={"new_password": NEW})
    assert response.status_code == 204


async def test_until_a_due_password_is_changed_nothing_else_is_allowed(house: House) -> None:
    await house.add_user("fresh", "admin", must_change_password=True)
    visit = house.visit()
    shown = await (await visit.sign_in("fresh")).get_json()
    assert shown["must_change_password"] is True
    response = await visit.ask("POST", f"{API}/for-admins", headers=visit.csrf)
    assert (response.status_code, (await response.get_json())["detail"]) == (
        403,
        "A new password must be chosen first.",
    )
    wanted = {"current_password": PASSWORD, "new_password": NEW}
    assert (await visit.ask("POST", f"{API}/me/password", headers=visit.csrf, json=wanted)).status_code == 204
    assert (await visit.ask("POST", f"{API}/for-admins", headers=visit.csrf)).status_code == 200


async def test_the_owner_of_the_data_directory_needs_no_password_and_has_none(house: House) -> None:
    visit = house.visit()
    client = house.app.test_client(use_cookies=False)
    me = await (await client.get(f"{API}/session")).get_json()
    assert (me["kind"], me["roles"]) == ("local", ["admin"])
    response = await client.post(f"{API}/me/password", json={"new_password": NEW})
    assert response.status_code == 403
    assert (await visit.who()).status_code == 401


async def test_signing_in_and_out_stands_in_the_audit_log_without_secrets(house: House, ada: User) -> None:
    visit = house.visit()
    await visit.sign_in("ada", "my secret typo")
    await visit.sign_in("my secret typo", "x")
    await visit.sign_in()
    await visit.ask("DELETE", f"{API}/session", headers=visit.csrf)
    rows = await house.rows(AUDIT)
    assert [row.action for row in rows] == [
        "auth.login_failure",
        "auth.login_failure",
        "auth.login_success",
        "auth.logout",
    ]
    assert [row.entity for row in rows] == ["Ada", "(unknown)", "Ada", "Ada"]
    assert {row.address for row in rows} == {"192.0.2.10"}
    everything = str(rows) + str(await house.rows("SELECT * FROM sessions"))
    for secret in ("my secret typo", PASSWORD, visit.cookies["mrproxy_device"]):
        assert secret not in everything


@pytest.mark.parametrize(
    "name", ["ada\r\nSet-Cookie: admin=1", "ada\0", "\ud800", "a" * 5000, "' OR 1=1 --", "\u202eada", "😀" * 200]
)
async def test_names_that_are_none_find_nobody_and_break_nothing(house: House, ada: User, name: str) -> None:
    body = b'{"name": %s, "password": "x"}' % __import__("json").dumps(name).encode()
    response = await house.visit().ask(
        "POST", f"{API}/session", data=body, headers={"Content-Type": "application/json"}
    )
    assert response.status_code in (400, 401, 422)
    assert "Set-Cookie" not in response.headers
