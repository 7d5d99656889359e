"""`/invitations` as llmlb's programs ask."""

from mrproxy.identity.digest import digest_key
from mrproxy.storage.people.invitations import accept_invitation
from mrproxy.storage.people.values import NewUser
from tests.control.api.conftest import NOW, SECRET
from tests.control.llmlb.conftest import Desk


async def test_a_code_is_shown_once_and_good_for_three_days(desk: Desk) -> None:
    made = await desk.made("/invitations", {})
    assert made["code"].startswith("inv_")
    assert (made["created_at"], made["expires_at"]) == ("2025-10-09T08:53:20Z", "2025-10-12T08:53:20Z")
    (listed,) = (await desk.shown("/invitations"))["invitations"]
    assert (listed["id"], listed["status"], listed["used_by"], listed["used_at"]) == (made["id"], "active", None, None)
    assert listed["created_by"] == "local"
    assert made["code"] not in str(listed)


async def test_who_used_it_is_said(desk: Desk) -> None:
    made = await desk.made("/invitations", {"expires_in_hours": 1})
    digest = digest_key(SECRET, made["code"].encode()).hex()
    store = desk.house.plane.store
    assert store is not None
    wanted = NewUser(name="bob", group_id=0)
    user = await store.transact(lambda connection: accept_invitation(connection, digest, wanted, NOW))
    assert user.group == "other"
    (listed,) = (await desk.shown("/invitations"))["invitations"]
    assert (listed["status"], listed["used_by"], listed["used_at"]) == ("used", user.uuid, "2025-10-09T08:53:20Z")
    assert await desk.status("DELETE", f"/invitations/{made['id']}") == 400


async def test_an_invitation_is_revoked(desk: Desk) -> None:
    made = await desk.made("/invitations", {})
    for _ in range(2):
        await desk.done("DELETE", f"/invitations/{made['id']}")
    assert [each["status"] for each in (await desk.shown("/invitations"))["invitations"]] == ["revoked"]
    assert (await desk.refused("DELETE", "/invitations/none"))[0] == 404


async def test_what_it_cannot_be(desk: Desk) -> None:
    for hours in (0, 9000, "many", 1.5):
        assert (await desk.refused("POST", "/invitations", {"expires_in_hours": hours}))[0] == 422
