"""What is told of an action."""

from mrproxy.control.admin.auditing import note
from mrproxy.control.api.actor import anonymous
from mrproxy.link.snapshot import Limits
from tests.control.admin.conftest import Desk


async def test_an_entry_names_who_did_it_even_if_it_is_nobody(desk: Desk) -> None:
    async def act(connection):
        await note(connection, anonymous("10.0.0.1", "r-2"), "x.try", "x", "1", Limits(token_budget=1), Limits(), 5.0)

    await desk.house.plane.store.transact(act)
    (entry,) = await desk.entries()
    assert (entry.actor, entry.actor_kind, entry.address, entry.request_id) == (
        "anonymous",
        "anonymous",
        "10.0.0.1",
        "r-2",
    )
    assert (entry.before, entry.after, entry.at_utc) == ({"token_budget": 1}, {}, 5.0)
