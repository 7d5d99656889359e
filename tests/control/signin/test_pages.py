"""The pages of signing in: forms that belong to their browser, and answers without a script."""

import re

import pytest

from mrproxy.control.signin.page import POLICY
from mrproxy.storage.people.values import User
from tests.control.signin.conftest import PASSWORD, House, Visit

pytestmark = pytest.mark.slow

NEW = "another long password"


async def post(visit: Visit, path: str = "/login", headers: dict[str, str] | None = None, **form: str):  # type: ignore[no-untyped-def]
    return await visit.ask("POST", path, form=form, headers=headers or {})


async def enter(visit: Visit, name: str = "ada", password: str = PASSWORD, **form: str):  # type: ignore[no-untyped-def]
    token = await visit.form()
    return await post(visit, csrf_token=token, name=name, password=password, **form)


async def test_a_person_signs_in_by_the_form(house: House, ada: User) -> None:
    visit = house.visit()
    response = await enter(visit, next="/dashboard?tab=1")
    assert (response.status_code, response.headers["Location"]) == (303, "/dashboard?tab=1")
    assert (await visit.who()).status_code == 200
    again = await visit.ask("GET", "/login?next=/dashboard")
    assert (again.status_code, again.headers["Location"]) == (303, "/dashboard")


async def test_the_page_needs_no_script_and_allows_none(house: House) -> None:
    response = await house.visit().ask("GET", "/login")
    text = await response.get_data(as_text=True)
    assert response.headers["Content-Security-Policy"] == POLICY
    assert response.headers["Referrer-Policy"] == "same-origin"
    assert "script" not in POLICY
    assert "unsafe" not in POLICY
    assert not re.search(r"<script|\son\w+=|style=|<style|javascript:", text)
    style = await house.visit().ask("GET", "/login/style.css")
    assert style.headers["Content-Type"].startswith("text/css")
    assert "prefers-color-scheme: dark" in await style.get_data(as_text=True)


async def test_a_wrong_password_is_said_on_the_page_and_the_name_kept(house: House, ada: User) -> None:
    visit = house.visit()
    response = await enter(visit, name='ada"><b>', password="wrong password")
    text = await response.get_data(as_text=True)
    assert response.status_code == 401
    assert "The name or the password is wrong." in text
    assert "wrong password" not in text
    assert 'value="ada&#34;&gt;&lt;b&gt;"' in text


async def test_a_form_without_its_cookie_signs_nobody_in(house: House, ada: User) -> None:
    visit, other = house.visit(), house.visit()
    token, others = await visit.form(), await other.form()
    for wrong in ("", "0" * 64, others):
        response = await post(visit, csrf_token=wrong, name="ada", password=PASSWORD)
        assert response.status_code == 403
        token = await visit.form()
    foreign = {"Origin": "https://evil.example"}
    response = await post(visit, headers=foreign, csrf_token=token, name="ada", password=PASSWORD)
    assert response.status_code == 403
    assert "mrproxy_session" not in visit.cookies


@pytest.mark.parametrize("wanted", ["//evil.example", "https://evil.example", "/\\evil.example", "/a\r\nX: y", ""])
async def test_nobody_is_sent_to_another_host(house: House, ada: User, wanted: str) -> None:
    visit = house.visit()
    response = await enter(visit, next=wanted)
    assert (response.status_code, response.headers["Location"]) == (303, "/")
    page = await house.visit().ask("GET", "/login", query_string={"next": wanted})
    assert "evil" not in await page.get_data(as_text=True)


@pytest.mark.parametrize("path", ["/login", "/login/password", "/logout"])
async def test_a_form_larger_than_any_of_ours_is_not_read(house: House, path: str) -> None:
    for size, is_refused in ((70_000, True), (60_000, False)):
        length = {"Content-Length": str(len("name=") + size)}  # the front door says it of each body
        response = await post(house.visit(), path, headers=length, name="a" * size)
        assert (response.status_code == 413) == is_refused


async def test_who_waits_is_told_how_long(house: House, ada: User) -> None:
    visit = house.visit()
    for _ in range(5):
        assert (await enter(visit, password="wrong password")).status_code == 401
    response = await enter(visit)
    assert (response.status_code, response.headers["Retry-After"]) == (429, "1")
    assert "Please wait." in await response.get_data(as_text=True)


async def test_signing_out_needs_the_sessions_own_token(house: House, ada: User) -> None:
    visit, other = house.visit(), house.visit()
    await enter(visit)
    await enter(other)
    kept = dict(visit.cookies)
    assert (await post(visit, "/logout", csrf_token=other.csrf["X-CSRF-Token"])).status_code == 403
    assert (await visit.ask("GET", "/logout")).status_code == 405
    response = await post(visit, "/logout", csrf_token=visit.csrf["X-CSRF-Token"])
    assert (response.status_code, response.headers["Location"]) == (303, "/login")
    visit.cookies = kept
    assert (await visit.who()).status_code == 401
    assert (await other.who()).status_code == 200


async def test_a_due_password_is_asked_for_at_once(house: House) -> None:
    await house.add_user("fresh", must_change_password=True)
    visit = house.visit()
    response = await enter(visit, "fresh", next="/dashboard")
    assert response.headers["Location"] == "/login/password"
    assert (await visit.ask("GET", "/login")).headers["Location"] == "/login/password"
    token = await visit.form("/login/password")
    form = {"csrf_token": token, "current_password": PASSWORD, "new_password": NEW, "again": NEW, "next": "/x"}
    differs = await post(visit, "/login/password", **form | {"again": "something else"})
    assert (differs.status_code, "differ" in await differs.get_data(as_text=True)) == (422, True)
    poor = await post(visit, "/login/password", **form | {"new_password": "short", "again": "short"})
    assert (poor.status_code, "10 characters" in await poor.get_data(as_text=True)) == (422, True)
    assert (await post(visit, "/login/password", **form | {"csrf_token": "x"})).status_code == 403
    response = await post(visit, "/login/password", **form)
    assert (response.status_code, response.headers["Location"]) == (303, "/x")
    assert (await (await visit.who()).get_json())["must_change_password"] is False


async def test_the_password_page_is_for_who_is_signed_in(house: House) -> None:
    visit = house.visit()
    assert (await visit.ask("GET", "/login/password")).headers["Location"] == "/login"
    assert (await post(visit, "/login/password", new_password="x")).headers["Location"] == "/login"


async def test_without_a_database_the_page_is_there_and_says_so(house: House, ada: User) -> None:
    visit = house.visit()
    await enter(visit)
    house.store.is_away = True
    assert (await visit.ask("GET", "/login")).status_code == 200
    response = await enter(visit)
    assert response.status_code == 503
    assert "Retry-After" in response.headers


@pytest.mark.parametrize("word", ["provider", "away", "refused", "database"])
async def test_errors_of_providers_are_sentences_of_ours(house: House, word: str) -> None:
    text = await (await house.visit().ask("GET", f"/login?error={word}")).get_data(as_text=True)
    assert 'role="alert"' in text
    text = await (await house.visit().ask("GET", "/login?error=<b>anything</b>")).get_data(as_text=True)
    assert "anything" not in text
