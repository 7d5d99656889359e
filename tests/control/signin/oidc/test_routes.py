"""Signing in at a real provider, and at one that lies."""

import pytest

from mrproxy.control.signin.oidc.flow import FLOW_SECONDS
from mrproxy.storage.people.sessions import link_identity
from mrproxy.storage.people.values import NewIdentity
from tests.control.signin.conftest import AUDIT, PASSWORD, Settings
from tests.control.signin.oidc.conftest import Journey, World, sent
from tests.fakes.oidc_provider import PERSON, FakeProvider

pytestmark = pytest.mark.slow


def reason(there: Journey) -> str:
    """Why the last one was refused, in the log."""
    return str(there.house.log.events("sign-in by a provider refused")[-1]["reason"])


async def is_refused(there: Journey, word: str = "provider", **query: str) -> str:
    response = await there.all_of_it(**query)
    assert (response.status_code, response.headers["Location"]) == (303, f"/login?error={word}")
    assert "mrproxy_session" not in there.visit.cookies
    assert await there.house.rows("SELECT * FROM sessions") == []
    return reason(there)


async def test_somebody_who_is_known_there_is_a_user_here(there: Journey, provider: FakeProvider) -> None:
    response = await there.all_of_it(next="/dashboard")
    assert (response.status_code, response.headers["Location"]) == (303, "/dashboard")
    me = await (await there.visit.who()).get_json()
    assert (me["name"], me["full_name"], me["email"], me["group"]) == ("jane", "Jane Doe", "jane@example.edu", "other")
    (row,) = await there.house.rows("SELECT issuer, subject FROM identities")
    assert tuple(row) == (provider.url, PERSON["sub"])
    actions = [row.action for row in await there.house.rows(AUDIT)]
    assert actions == ["user.create", "user.link_identity", "auth.login_success"]


async def test_whoever_comes_again_is_the_same_user_under_any_name(there: Journey, provider: FakeProvider) -> None:
    await there.all_of_it()
    provider.tell(person=PERSON | {"preferred_username": "jane.roe", "email": "jane.roe@example.edu"})
    await there.all_of_it()
    rows = await there.house.rows("SELECT name, email FROM users")
    assert [tuple(row) for row in rows] == [("jane", "jane@example.edu")]


async def test_what_is_sent_along_is_random_and_pkce_is_s256(there: Journey) -> None:
    first, second = sent(await there.go()), sent(await there.go())
    assert (first["response_type"], first["code_challenge_method"]) == ("code", "S256")
    assert first["redirect_uri"] == "http://llm.example/login/oidc/fake/callback"
    assert first["scope"].split() == ["openid", "profile", "email"]
    for name in ("state", "nonce", "code_challenge"):
        assert first[name] != second[name]
    assert len({first["state"], first["nonce"], first["code_challenge"]}) == 3


async def test_a_provider_that_says_it_knows_plain_only_gets_s256_all_the_same(
    there: Journey, provider: FakeProvider
) -> None:
    provider.tell(lies={"metadata": {"code_challenge_methods_supported": ["plain"]}})
    assert sent(await there.go())["code_challenge_method"] == "S256"


async def test_the_verifier_is_what_the_challenge_was_made_of(there: Journey, provider: FakeProvider) -> None:
    """Two flows of one browser: the code of the one with the cookie of the other."""
    stolen = sent(there.approve(await there.go()))["code"]
    path = there.approve(await there.go())
    mixed = path.replace(sent(path)["code"], stolen)
    assert (await there.back(mixed)).headers["Location"] == "/login?error=away"
    assert "invalid_grant" in reason(there)


async def test_a_public_address_is_where_the_provider_sends_people(world: World) -> None:
    house = world.house(Settings(public_url="https://public.example/"))
    there = Journey(house, house.visit())
    assert sent(await there.go())["redirect_uri"] == "https://public.example/login/oidc/fake/callback"


@pytest.mark.parametrize("host", ["evil.example/x?", "a b", "x\\y", "", "user@host"])
async def test_a_host_that_is_none_leads_nowhere(there: Journey, host: str) -> None:
    response = await there.visit.ask("GET", "/login/oidc/fake", headers={"Host": host})
    assert response.status_code in (303, 400)
    assert response.headers.get("Location", "/login?error=provider") == "/login?error=provider"


@pytest.mark.parametrize("wanted", ["//evil.example", "https://evil.example/", "/\\evil.example"])
async def test_the_way_back_leads_to_no_other_host(there: Journey, wanted: str) -> None:
    response = await there.all_of_it(next=wanted)
    assert response.headers["Location"] == "/"


@pytest.mark.parametrize(
    ("lies", "why"),
    [
        ({"claims": {"aud": "another client"}}, "aud"),
        ({"claims": {"aud": ["another", "gateway"]}}, "azp"),
        ({"claims": {"azp": "another client"}}, "azp"),
        ({"claims": {"aud": None}}, "aud"),
        ({"claims": {"iss": "https://evil.example"}}, "iss"),
        ({"claims": {"iss": None}}, "iss"),
        ({"claims": {"nonce": "of another visit"}}, "nonce"),
        ({"claims": {"nonce": None}}, "nonce"),
        ({"claims": {"exp": 1_000_000_000}}, "expired"),
        ({"claims": {"exp": None}}, "exp"),
        ({"claims": {"exp": "never"}}, "exp"),
        ({"claims": {"iat": 9_000_000_000}}, "in the future"),
        ({"claims": {"nbf": 9_000_000_000}}, "not yet valid"),
        ({"claims": {"sub": None}}, "sub"),
        ({"claims": {"sub": ""}}, "sub"),
        ({"claims": {"sub": 7}}, "sub"),
        ({"claims": {"sub": "s" * 256}}, "too long"),
        ({"claims": {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}}, "at_hash"),
        ({"algorithm": "none"}, "no algorithm"),
        ({"algorithm": "HS256 with the client's secret"}, "no algorithm"),
        ({"algorithm": "HS256 with the public key"}, "no algorithm"),
        ({"key": "unpublished"}, "not published"),
        ({"key": "another of the same name"}, "not signed by the provider"),
        ({"back": {"iss": "https://evil.example"}}, "another provider"),
        ({"back": {"iss": None}}, "another provider"),
        ({"back": {"state": "guessed"}}, "state"),
        ({"back": {"state": None}}, "state"),
        ({"back": {"code": None}}, "no code"),
        ({"back": {"error": "access_denied"}}, "access_denied"),
        ({"back": {"error": "<b>\n"}}, "an error"),
    ],
)
async def test_a_provider_that_lies_signs_nobody_in(
    there: Journey, provider: FakeProvider, lies: dict[str, object], why: str
) -> None:
    provider.tell(lies=lies)
    assert why in await is_refused(there)


async def test_userinfo_about_somebody_else_is_refused(there: Journey, provider: FakeProvider) -> None:
    provider.tell(lies={"hides": ["email"], "userinfo": {"sub": "somebody else"}})
    assert "somebody else" in await is_refused(there)


async def test_what_the_token_lacks_userinfo_may_say(there: Journey, provider: FakeProvider) -> None:
    provider.tell(lies={"hides": ["email", "email_verified", "preferred_username"]})
    await there.all_of_it()
    me = await (await there.visit.who()).get_json()
    assert (me["name"], me["email"]) == ("jane", "jane@example.edu")


@pytest.mark.parametrize(
    "lies",
    [
        {"metadata": {"issuer": "https://evil.example"}},
        {"metadata": {"token_endpoint": "http://evil.example/token"}},
        {"metadata": {"jwks_uri": "file:///etc/passwd"}},
        {"metadata": {"authorization_endpoint": None}},
    ],
)
async def test_a_provider_that_describes_itself_as_another_is_not_visited(
    there: Journey, provider: FakeProvider, lies: dict[str, object]
) -> None:
    provider.tell(lies=lies)
    assert await there.go() == "/login?error=away"
    assert there.house.log.events("provider fails")


async def test_keys_that_were_published_anew_are_found(there: Journey, provider: FakeProvider) -> None:
    await there.all_of_it()
    provider.tell(rotate=True)
    there.house.parts.oidc.providers["fake"].keys_at -= 11
    assert (await there.all_of_it()).headers["Location"] == "/"
    assert provider.calls()["/jwks"] == 1


async def test_unknown_keys_do_not_make_us_ask_for_ever(there: Journey, provider: FakeProvider) -> None:
    await there.all_of_it()
    provider.tell(lies={"key": "unpublished"})
    for _ in range(3):
        await there.all_of_it()
    assert "/jwks" not in provider.calls()


async def test_a_token_that_names_no_key_is_tried_with_all(there: Journey, provider: FakeProvider) -> None:
    provider.tell(lies={"key": "nameless"})
    assert (await there.all_of_it()).headers["Location"] == "/"


async def test_an_answer_is_good_once_even_if_the_cookie_was_kept(there: Journey) -> None:
    path = there.approve(await there.go())
    kept = dict(there.visit.cookies)
    assert (await there.back(path)).headers["Location"] == "/"
    assert "mrproxy_flow" not in there.visit.cookies
    there.visit.cookies = kept
    assert (await there.back(path)).headers["Location"] == "/login?error=provider"
    assert "before" in reason(there)


async def test_an_answer_is_good_in_the_browser_that_went(there: Journey) -> None:
    path = there.approve(await there.go())
    victim = there.house.visit()
    response = await victim.ask("GET", path)
    assert response.headers["Location"] == "/login?error=provider"
    other = Journey(there.house, there.house.visit())
    await other.go()
    assert (await other.back(path)).headers["Location"] == "/login?error=provider"
    assert "state" in reason(there)


async def test_a_flow_is_good_for_ten_minutes(there: Journey) -> None:
    path = there.approve(await there.go())
    there.house.clock.now_utc += FLOW_SECONDS + 1
    assert (await there.back(path)).headers["Location"] == "/login?error=provider"
    assert "too long ago" in reason(there)


async def test_a_forged_cookie_of_a_flow_is_none(there: Journey) -> None:
    path = there.approve(await there.go())
    value = there.visit.cookies["mrproxy_flow"]
    there.visit.cookies["mrproxy_flow"] = value[:-3] + "AAA"
    assert (await there.back(path)).headers["Location"] == "/login?error=provider"
    assert "no cookie" in reason(there)


async def test_a_provider_that_nobody_configured_is_none(there: Journey) -> None:
    there.name = "other"
    assert await there.go() == "/login?error=provider"
    response = await there.back("/login/oidc/other/callback?code=1&state=2")
    assert response.headers["Location"] == "/login?error=provider"


async def test_a_name_that_somebody_has_here_is_not_given_to_somebody_from_there(
    there: Journey, provider: FakeProvider
) -> None:
    await there.house.add_user("root", "admin")
    provider.tell(person=PERSON | {"preferred_username": "ROOT", "email": None})
    await there.all_of_it()
    me = await (await there.visit.who()).get_json()
    assert (me["name"], me["roles"]) == ("ROOT (fake)", ["member"])


async def test_an_address_makes_somebody_a_user_only_where_a_setting_says_so(world: World) -> None:
    house = world.house()
    await house.add_user("J", email="Jane@example.edu")
    there = Journey(house, house.visit())
    await there.all_of_it()
    assert (await (await there.visit.who()).get_json())["name"] == "jane"


async def test_a_verified_address_links(world: World, provider: FakeProvider) -> None:
    house = world.house(links_by_email=True)
    await house.add_user("J", email="Jane@example.edu", password=None)
    there = Journey(house, house.visit())
    provider.tell(person=PERSON | {"email_verified": False, "sub": "mallory"})
    await there.all_of_it()
    assert (await (await there.visit.who()).get_json())["name"] == "jane"  # a new user: the address proves nothing
    provider.tell()
    there.visit = house.visit()
    await there.all_of_it()
    assert (await (await there.visit.who()).get_json())["name"] == "J"


@pytest.mark.parametrize("has_identity", [True, False])
async def test_an_address_in_somebodys_own_profile_catches_nobody(world: World, has_identity: bool) -> None:
    """Whoever writes another one's address into his profile would share an account with him."""
    house = world.house(links_by_email=True)
    mallory = await house.add_user("mallory", email="jane@example.edu", password=None if has_identity else PASSWORD)
    if has_identity:
        identity = NewIdentity(user_id=mallory.id, issuer="https://elsewhere.example", subject="1")
        await house.store.database.transact(link_identity, identity, 1.0)
    there = Journey(house, house.visit())
    await there.all_of_it()
    assert (await (await there.visit.who()).get_json())["name"] == "jane"


async def test_groups_come_from_the_table_and_anew_each_time(world: World, provider: FakeProvider) -> None:
    house = world.house(group_claim="realm_access.roles", group_map={"llm-admin": "admin", "lecturer": "faculty"})
    await house.add_user("root", "admin")
    there = Journey(house, house.visit())
    for roles, group in ((["lecturer", "x"], "faculty"), (["lecturer", "llm-admin"], "admin"), ([], "admin")):
        provider.tell(person=PERSON | {"realm_access": {"roles": roles}})
        await there.all_of_it()
        assert (await (await there.visit.who()).get_json())["group"] == group


async def test_the_last_administrator_stays_one(world: World, provider: FakeProvider) -> None:
    house = world.house(group_claim="roles", group_map={"boss": "admin", "rest": "other"})
    there = Journey(house, house.visit())
    provider.tell(person=PERSON | {"roles": ["boss"]})
    await there.all_of_it()
    provider.tell(person=PERSON | {"roles": "rest"})
    await there.all_of_it()
    assert (await (await there.visit.who()).get_json())["group"] == "admin"


@pytest.mark.parametrize(
    ("values", "person", "word"),
    [
        ({"default_group": ""}, {}, "refused"),
        ({"default_group": "no such group"}, {}, "refused"),
        ({"allowed_domains": ("example.org",)}, {}, "provider"),
        ({"allowed_domains": ("example.edu",)}, {"email_verified": False}, "provider"),
        ({"allowed_domains": ("example.edu",)}, {"email": "jane@example.edu.evil.example"}, "provider"),
        ({"allowed_domains": ("example.edu",)}, {"email": "jane@sub.example.edu"}, "provider"),
    ],
)
async def test_who_is_not_wanted_is_not_admitted(
    world: World, provider: FakeProvider, values: dict[str, object], person: dict[str, object], word: str
) -> None:
    house = world.house(**values)
    provider.tell(person=PERSON | person)
    await is_refused(Journey(house, house.visit()), word)
    assert await house.rows("SELECT * FROM users") == []


async def test_who_is_deactivated_here_stays_out(there: Journey) -> None:
    await there.all_of_it()
    user_id = (await there.house.rows("SELECT id FROM users"))[0].id
    await there.house.store.database.transact(deactivate, user_id)
    there.visit = there.house.visit()
    response = await there.all_of_it()
    assert response.headers["Location"] == "/login?error=refused"


async def deactivate(connection: object, user_id: int) -> None:
    await connection.exec_driver_sql(f"UPDATE users SET is_active = 0 WHERE id = {user_id}")  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["jane\r\nSet-Cookie: x=y", "\u202eenaj", "  ", "j" * 500, "jane\0", "<b>jane</b>"])
async def test_names_from_there_are_made_harmless(there: Journey, provider: FakeProvider, name: str) -> None:
    provider.tell(person=PERSON | {"preferred_username": name, "name": name})
    response = await there.all_of_it()
    assert response.headers["Location"] == "/"
    (row,) = await there.house.rows("SELECT name FROM users")
    assert row.name.isprintable()
    assert 0 < len(row.name) <= 80


async def test_a_database_that_is_away_says_so(there: Journey) -> None:
    path = there.approve(await there.go())
    there.house.store.is_away = True
    assert (await there.back(path)).headers["Location"] == "/login?error=database"


async def test_the_page_links_to_the_provider(there: Journey) -> None:
    text = await (await there.visit.ask("GET", "/login?next=/a%26b")).get_data(as_text=True)
    assert 'href="/login/oidc/fake?next=/a%26b"' in text
    assert "Fake &amp; Co" in text
    shown = await (await there.visit.ask("GET", "/admin/api/v1/session/providers")).get_json()
    assert shown == {"items": [{"name": "fake", "label": "Fake & Co", "url": "/login/oidc/fake"}]}


async def test_somebody_from_there_has_no_password_here(there: Journey) -> None:
    await there.all_of_it()
    assert (await there.house.visit().sign_in("jane", PASSWORD)).status_code == 401
