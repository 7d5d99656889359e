"""Who asks: by cookie, token, key; with and without a database."""

import pytest

from mrproxy.config import Settings
from mrproxy.control.signin.tokens import TokenClaims, issue_token, verify_token
from mrproxy.link.snapshot import KeySpec, Snapshot, UserSpec, write
from mrproxy.storage.people.keys import create_key, revoke_key
from mrproxy.storage.people.values import ApiKey, NewKey, User
from tests.control.signin.conftest import API, PASSWORD, House, Visit, make_house

pytestmark = pytest.mark.slow

KEY, SERVICE, OTHER = "mr_key-of-ada", "mr_service-key", "mr_of-the-configuration"
ALL = ("read", "own", "admin")


async def add_key(house: House, key: str, **values: object) -> ApiKey:
    wanted = NewKey(name="k", digest=house.digest(key), prefix=key[:10], **{"scopes": ALL, **values})  # type: ignore[arg-type]
    return await house.store.database.transact(create_key, wanted, house.clock.now_utc)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def write_snapshot(house: House, *keys: KeySpec) -> None:
    users = (UserSpec("boss", "admin"),)
    snapshot = Snapshot(generation=1, created_utc=1.0, settings=Settings(), users=users, keys=keys)
    write(house.data_dir / "snapshot.json", snapshot)


async def test_a_key_is_its_user_within_its_scopes(house: House, ada: User) -> None:
    made = await add_key(house, KEY, user_id=ada.id, scopes=("own",))
    for headers in (bearer(KEY), {"X-API-Key": KEY}, {"Authorization": f"bearer  {KEY} "}):
        me = await (await house.visit().who(**headers)).get_json()
        assert (me["kind"], me["name"], me["id"]) == ("key", "Ada", ada.uuid)
        assert (me["key_id"], me["scopes"]) == (made.key_id, ["own"])
    assert (await house.visit().ask("POST", f"{API}/for-members", headers=bearer(KEY))).status_code == 200


async def test_a_key_needs_no_proof_against_other_sites(house: House, ada: User) -> None:
    await add_key(house, KEY, user_id=ada.id)
    headers = {**bearer(KEY), "Origin": "https://app.example", "Sec-Fetch-Site": "cross-site"}
    assert (await house.visit().ask("POST", f"{API}/for-members", headers=headers)).status_code == 200


async def test_scopes_of_a_members_key_make_no_administrator(house: House, ada: User, root: User) -> None:
    await add_key(house, KEY, user_id=ada.id)
    await add_key(house, SERVICE, group_id=root.group_id)
    assert (await house.visit().ask("POST", f"{API}/for-admins", headers=bearer(KEY))).status_code == 403
    response = await house.visit().ask("POST", f"{API}/for-admins", headers=bearer(SERVICE))
    assert response.status_code == 200


async def test_a_key_that_is_over_is_refused_with_the_reason(house: House, ada: User) -> None:
    key = await add_key(house, KEY, user_id=ada.id, expires_utc=house.clock.now_utc + 10)
    house.clock.now_utc += 10
    assert "expired" in (await (await house.visit().who(**bearer(KEY))).get_json())["detail"]
    house.clock.now_utc -= 10
    await house.store.database.transact(revoke_key, key.id, None, house.clock.now_utc)
    response = await house.visit().who(**bearer(KEY))
    assert (response.status_code, "revoked" in (await response.get_json())["detail"]) == (401, True)


async def test_a_key_that_the_database_revoked_is_not_rescued_by_the_snapshot(house: House, ada: User) -> None:
    key = await add_key(house, KEY, user_id=ada.id)
    write_snapshot(house, KeySpec(key.key_id, "k", house.digest(KEY), "Ada", scopes=ALL))
    await house.store.database.transact(revoke_key, key.id, None, house.clock.now_utc)
    assert (await house.visit().who(**bearer(KEY))).status_code == 401


async def test_a_key_of_somebody_who_is_deactivated_is_refused(house: House, ada: User) -> None:
    await add_key(house, KEY, user_id=ada.id)
    await house.change(ada, is_active=False)
    assert (await house.visit().who(**bearer(KEY))).status_code == 401


async def test_a_key_is_good_from_its_addresses_only(house: House, ada: User) -> None:
    await add_key(house, KEY, user_id=ada.id, addresses=("192.0.2.0/28",))
    assert (await house.visit(address="192.0.2.10").who(**bearer(KEY))).status_code == 200
    assert (await house.visit(address="192.0.2.99").who(**bearer(KEY))).status_code == 403
    assert (await house.visit(address="").who(**bearer(KEY))).status_code == 403


async def test_keys_of_the_configuration_are_in_the_snapshot(house: House) -> None:
    write_snapshot(house, KeySpec("cafe", "k", house.digest(OTHER), "boss", scopes=ALL))
    me = await (await house.visit().who(**bearer(OTHER))).get_json()
    assert (me["kind"], me["name"], me["roles"]) == ("key", "boss", ["admin", "member"])
    assert (await house.visit().who(**bearer("mr_unknown"))).status_code == 401


async def test_without_the_database_the_snapshot_decides_and_never_says_that_a_key_is_none(
    house: House, ada: User
) -> None:
    key = await add_key(house, KEY, user_id=ada.id)
    await add_key(house, SERVICE, user_id=ada.id)  # after the snapshot was written
    write_snapshot(house, KeySpec(key.key_id, "k", house.digest(KEY), "Ada", scopes=ALL))
    house.store.is_away = True
    me = await (await house.visit().who(**bearer(KEY))).get_json()
    assert (me["kind"], me["name"], me["id"]) == ("key", "Ada", None)
    response = await house.visit().who(**bearer(SERVICE))
    assert (response.status_code, response.headers["Retry-After"]) == (503, "5")


async def test_a_gateway_without_database_knows_its_snapshot(house: House) -> None:
    write_snapshot(house, KeySpec("cafe", "k", house.digest(OTHER), "boss", scopes=ALL))
    alone = make_house(None, house.data_dir)  # type: ignore[arg-type]
    assert (await alone.visit().who(**bearer(OTHER))).status_code == 200
    assert (await alone.visit().who(**bearer("mr_unknown"))).status_code == 401
    assert (await alone.visit().sign_in()).status_code == 503


async def test_a_header_decides_alone_good_or_bad(house: House, ada: User, root: User) -> None:
    visit = house.visit()
    await visit.sign_in("root")
    await add_key(house, KEY, user_id=ada.id)
    write_snapshot(house)
    assert (await (await visit.who(**bearer(KEY))).get_json())["name"] == "Ada"
    assert (await visit.who(**bearer("mr_unknown"))).status_code == 401
    assert (await visit.who(**bearer("a.b.c"))).status_code == 401
    assert (await (await visit.who(Authorization="Basic eDp5")).get_json())["name"] == "root"


async def test_a_session_of_one_kind_is_none_of_the_other(house: House, ada: User) -> None:
    """What a cookie's row is called is no secret; a token that names it must not be made of it."""
    visit = house.visit()
    await visit.sign_in()
    (row,) = await house.rows("SELECT id FROM sessions")
    now = int(house.clock.now_utc)
    token = issue_token(
        house.parts.session_api.sign_in.sessions.keys.token, TokenClaims(ada.uuid, "admin", row.id, now, now + 60)
    )
    assert (await house.visit().who(**bearer(token))).status_code == 401


async def test_a_request_that_was_not_forwarded_is_the_owners(house: House) -> None:
    response = await house.app.test_client(use_cookies=False).get(f"{API}/session", headers=bearer("mr_unknown"))
    assert (await response.get_json())["kind"] == "local"


async def token_of(visit: Visit, name: str = "ada") -> str:
    response = await visit.ask("POST", "/v0/auth/login", json={"username": name, "password": PASSWORD})
    token: str = (await response.get_json())["token"]
    return token


async def test_a_token_of_somebody_else_under_our_key_is_refused(house: House, ada: User, root: User) -> None:
    """A row that is good, and a subject that is not its user's."""
    keys, now = house.parts.session_api.sign_in.sessions.keys, house.clock.now_utc
    mine = verify_token(keys.token, await token_of(house.visit()), now)
    other = issue_token(keys.token, TokenClaims(root.uuid, "admin", mine.session, mine.issued_utc, mine.expires_utc))
    assert (await house.visit().who(**bearer(other))).status_code == 401
