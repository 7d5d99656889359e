"""llmlb's `/v0/auth/*`: shapes as its programs expect them, and tokens that end when they should."""

import pytest

from mrproxy.control.signin.tokens import TokenClaims, issue_token
from mrproxy.storage.people.groups import find_group_by_name
from mrproxy.storage.people.invitations import create_invitation, find_invitation, revoke_invitation
from mrproxy.storage.people.values import Invitation, NewInvitation, User
from tests.control.signin.conftest import API, PASSWORD, House, Visit

pytestmark = pytest.mark.slow

CODE = "inv_0123456789abcdef"
NEW = "another long password"


async def log_in(visit: Visit, name: str = "ada", base: str = "/v0/auth") -> dict[str, str]:
    """The header of a token."""
    response = await visit.ask("POST", f"{base}/login", json={"username": name, "password": PASSWORD})
    return {"Authorization": f"Bearer {(await response.get_json())['token']}"}


async def invite(house: House, group: str = "student", code: str = CODE) -> Invitation:
    found = await house.store.database.read(find_group_by_name, group)
    assert found is not None
    now_utc = house.clock.now_utc
    wanted = NewInvitation(
        digest=house.digest(code), prefix=code[:8], group_id=found.id, expires_utc=now_utc + 3600, created_by="root"
    )
    return await house.store.database.transact(create_invitation, wanted, now_utc)


@pytest.mark.parametrize("base", ["/v0/auth", "/api/auth"])
async def test_the_curl_examples_of_signing_in(house: House, root: User, base: str) -> None:
    visit = house.visit()
    response = await visit.ask("POST", f"{base}/login", json={"username": "root", "password": PASSWORD})
    body = await response.get_json()
    assert response.status_code == 200
    assert (sorted(body), body["expires_in"]) == (["expires_in", "token", "user"], 86_400)
    assert body["user"] == {"id": root.uuid, "username": "root", "role": "admin", "must_change_password": False}
    assert visit.cookies == {}
    token = {"Authorization": f"Bearer {body['token']}"}
    me = await (await visit.ask("GET", f"{base}/me", headers=token)).get_json()
    assert me == {"user_id": root.uuid, "username": "root", "role": "admin", "must_change_password": False}
    assert (await visit.ask("POST", f"{base}/logout", headers=token)).status_code == 204
    assert (await visit.ask("GET", f"{base}/me", headers=token)).status_code == 401


async def test_a_token_is_good_for_our_own_api_as_well(house: House, root: User) -> None:
    visit = house.visit()
    token = await log_in(visit, "root")
    assert (await visit.ask("POST", f"{API}/for-admins", headers=token)).status_code == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"username": "ada", "password": "wrong password"}, 401),
        ({"username": "nobody", "password": PASSWORD}, 401),
        ({"username": "ada"}, 422),
        ({"username": 1, "password": PASSWORD}, 422),
        ([], 422),
    ],
)
async def test_errors_are_one_sentence(house: House, ada: User, body: object, status: int) -> None:
    response = await house.visit().ask("POST", "/v0/auth/login", json=body)
    found = await response.get_json()
    assert response.status_code == status
    assert list(found) == ["error"]
    assert isinstance(found["error"], str)


async def test_a_token_ends_with_its_day(house: House, ada: User) -> None:
    visit = house.visit()
    token = await log_in(visit)
    house.clock.now_utc += 86_399
    assert (await visit.ask("GET", "/v0/auth/me", headers=token)).status_code == 200
    house.clock.now_utc += 1
    assert (await visit.ask("GET", "/v0/auth/me", headers=token)).status_code == 401


async def test_a_forged_token_is_refused_though_its_row_is_there(house: House, ada: User) -> None:
    visit = house.visit()
    await log_in(visit)
    (row,) = await house.rows("SELECT id FROM sessions")
    now = int(house.clock.now_utc)
    forged = issue_token(b"k" * 32, TokenClaims(ada.uuid, "admin", row.id, now, now + 60))
    response = await visit.ask("GET", "/v0/auth/me", headers={"Authorization": f"Bearer {forged}"})
    assert (response.status_code, await response.get_json()) == (401, {"error": "This token is not valid."})


async def test_a_role_in_a_token_is_not_believed(house: House, ada: User) -> None:
    visit = house.visit()
    await log_in(visit)
    keys, now = house.parts.session_api.sign_in.sessions.keys, int(house.clock.now_utc)
    (row,) = await house.rows("SELECT id FROM sessions")
    token = issue_token(keys.token, TokenClaims(ada.uuid, "admin", row.id, now, now + 60))
    headers = {"Authorization": f"Bearer {token}"}
    assert (await visit.ask("POST", f"{API}/for-admins", headers=headers)).status_code == 403


async def test_a_new_password_ends_other_tokens_and_keeps_this_one(house: House, ada: User) -> None:
    visit = house.visit()
    mine, other = await log_in(visit), await log_in(visit)
    response = await visit.ask("PUT", "/v0/auth/change-password", headers=mine, json={"new_password": NEW})
    assert response.status_code == 204
    assert (await visit.ask("GET", "/v0/auth/me", headers=mine)).status_code == 200
    assert (await visit.ask("GET", "/v0/auth/me", headers=other)).status_code == 401


async def test_a_token_that_was_stolen_a_while_ago_changes_no_password(house: House, ada: User) -> None:
    visit = house.visit()
    token = await log_in(visit)
    house.clock.now_utc += 3600
    response = await visit.ask("PUT", "/v0/auth/change-password", headers=token, json={"new_password": NEW})
    assert response.status_code == 403


async def test_logging_out_without_a_token_is_no_error(house: House) -> None:
    assert (await house.visit().ask("POST", "/v0/auth/logout")).status_code == 204


async def test_an_invitation_makes_a_user_once(house: House) -> None:
    await invite(house)
    visit = house.visit()
    body = {"invitation_code": CODE, "username": "grace", "password": PASSWORD}
    response = await visit.ask("POST", "/v0/auth/register", json=body)
    made = await response.get_json()
    assert (response.status_code, made["username"], made["role"]) == (201, "grace", "viewer")
    assert made["created_at"].startswith("2027-01-15T")
    assert (await visit.ask("POST", "/v0/auth/register", json=body | {"username": "again"})).status_code == 400
    me = await (await visit.ask("GET", "/v0/auth/me", headers=await log_in(visit, "grace"))).get_json()
    assert me["user_id"] == made["id"]


async def test_a_code_that_is_wrong_old_or_withdrawn_makes_nobody(house: House) -> None:
    invitation = await invite(house)
    visit, body = house.visit(), {"invitation_code": CODE, "username": "grace", "password": PASSWORD}
    response = await visit.ask("POST", "/v0/auth/register", json=body | {"invitation_code": "inv_wrong"})
    assert response.status_code == 400
    house.clock.now_utc += 3601
    assert (await visit.ask("POST", "/v0/auth/register", json=body)).status_code == 400
    house.clock.now_utc -= 3601
    await house.store.database.transact(revoke_invitation, invitation.id, house.clock.now_utc)
    assert (await visit.ask("POST", "/v0/auth/register", json=body)).status_code == 400
    assert await house.rows("SELECT name FROM users") == []


async def test_a_name_that_is_taken_leaves_the_invitation_open(house: House, ada: User) -> None:
    invitation = await invite(house)
    body = {"invitation_code": CODE, "username": "ADA", "password": PASSWORD}
    response = await house.visit().ask("POST", "/v0/auth/register", json=body)
    assert (response.status_code, list(await response.get_json())) == (409, ["error"])
    found = await house.store.database.read(find_invitation, invitation.id)
    assert found is not None
    assert found.used_utc is None


async def test_our_own_api_accepts_invitations_too_and_the_group_is_the_invitations(house: House) -> None:
    await invite(house, "faculty")
    body = {"code": CODE, "name": "Grace", "password": PASSWORD, "email": "grace@example.edu", "full_name": "Grace H."}
    response = await house.visit().ask("POST", f"{API}/invitations/accept", json=body)
    assert (response.status_code, (await response.get_json())["group"]) == (201, "faculty")
    (row,) = await house.rows("SELECT name, email, full_name FROM users")
    assert tuple(row) == ("Grace", "grace@example.edu", "Grace H.")
    body["group"] = "admin"
    response = await house.visit().ask("POST", f"{API}/invitations/accept", json=body)
    assert response.status_code == 422


async def test_a_poor_password_makes_nobody(house: House) -> None:
    await invite(house)
    body = {"invitation_code": CODE, "username": "grace", "password": "grace"}
    assert (await house.visit().ask("POST", "/v0/auth/register", json=body)).status_code == 422
    assert await house.rows("SELECT name FROM users") == []


async def test_guessing_codes_is_slowed_down_for_the_guesser_alone(house: House) -> None:
    await invite(house)
    guesser, body = house.visit(), {"username": "x", "password": PASSWORD}
    statuses = [
        (await guesser.ask("POST", "/v0/auth/register", json=body | {"invitation_code": f"{n}"})).status_code
        for n in range(7)
    ]
    assert statuses == [400] * 5 + [429] * 2
    good = body | {"invitation_code": CODE, "username": "grace"}
    assert (await house.visit(address="203.0.113.5").ask("POST", "/v0/auth/register", json=good)).status_code == 201


async def test_a_due_password_leaves_a_token_only_what_is_needed_to_change_it(house: House) -> None:
    await house.add_user("fresh", "admin", must_change_password=True)
    visit = house.visit()
    token = await log_in(visit, "fresh")
    me = await (await visit.ask("GET", "/v0/auth/me", headers=token)).get_json()
    assert me["must_change_password"] is True
    assert (await visit.ask("POST", f"{API}/for-admins", headers=token)).status_code == 403
    assert (
        await visit.ask("PUT", "/v0/auth/change-password", headers=token, json={"new_password": NEW})
    ).status_code == 204
    assert (await visit.ask("POST", f"{API}/for-admins", headers=token)).status_code == 200
