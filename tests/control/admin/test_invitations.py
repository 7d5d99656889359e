"""`/invitations`."""

from mrproxy.control.admin.invitations import CODE_PREFIX
from mrproxy.identity.digest import digest_key
from mrproxy.storage.people.invitations import find_invitation_by_digest
from tests.control.admin.conftest import Desk
from tests.control.api.conftest import SECRET


async def test_a_code_is_shown_once_and_good_for_a_week(desk: Desk) -> None:
    made = await desk.made("/invitations", {"group": "staff", "email": "ada@example.org"})
    code = made.pop("code")
    assert code.startswith(CODE_PREFIX)
    assert (made["group"], made["status"], made["expires_utc"]) == ("staff", "active", "2025-10-16T08:53:20Z")
    assert await desk.shown(f"/invitations/{made['id']}") == made
    stored = await desk.house.plane.store.read(find_invitation_by_digest, digest_key(SECRET, code.encode()).hex())
    assert stored.uuid == made["id"]
    assert code not in str(await desk.shown("/invitations")) + str(await desk.entries())


async def test_an_invitation_is_revoked_once_and_for_all(desk: Desk) -> None:
    made = await desk.made("/invitations", {})
    for _ in range(2):
        revoked = await (await desk.ask("POST", f"/invitations/{made['id']}/revoke")).get_json()
        assert revoked["status"] == "revoked"
    assert await desk.names("/invitations?status=revoked", "id") == [made["id"]]
    assert await desk.names("/invitations?status=active", "id") == []


async def test_what_an_invitation_cannot_be(desk: Desk) -> None:
    assert await desk.status("POST", "/invitations", {"group": "none"}) == 422
    assert await desk.status("POST", "/invitations", {"expires_utc": "2020-01-01T00:00:00Z"}) == 422
    assert await desk.status("POST", "/invitations", {"expires_utc": "2030-01-01T00:00:00"}) == 422
    assert await desk.status("GET", "/invitations/none") == 404
    assert await desk.status("POST", "/invitations/none/revoke") == 404
