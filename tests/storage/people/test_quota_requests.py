"""What is granted is what the user has afterwards."""

import pytest
import trio

from mrproxy.link.snapshot import Limits
from mrproxy.storage.database import Database
from mrproxy.storage.people.checks import MAX_AMOUNT
from mrproxy.storage.people.errors import Changed, Invalid, NotFound
from mrproxy.storage.people.groups import create_group
from mrproxy.storage.people.quota_requests import (
    count_quota_requests,
    create_quota_request,
    find_quota_request,
    list_quota_requests,
    review_quota_request,
)
from mrproxy.storage.people.users import find_user
from mrproxy.storage.people.values import (
    Group,
    NewGroup,
    NewQuotaRequest,
    QuotaRequest,
    QuotaRequestFilter,
    Review,
    User,
)
from tests.storage.people.examples import NOW, a_user, everything

YES = Review(is_approved=True, reviewed_by="root", notes="fine")


async def asked(database: Database, user: User, tokens: int | None = 100, per_minute: int | None = None):
    wanted = NewQuotaRequest(
        user_id=user.id, justification="thesis", requested_tokens=tokens, requested_requests_per_minute=per_minute
    )
    return await database.transact(create_quota_request, wanted, NOW)


async def reviewed(database: Database, request: QuotaRequest, review: Review = YES) -> QuotaRequest:
    return await database.transact(review_quota_request, request.id, review, None, NOW + 1)


async def limits(database: Database, user: User) -> Limits:
    found = await database.read(find_user, user.id)
    assert found is not None
    return found.limits


@pytest.fixture
async def students(database: Database) -> Group:
    wanted = NewGroup(name="student", limits=Limits(30, token_budget=1000, budget_period="monthly"))
    return await database.transact(create_group, wanted, NOW)


async def test_a_request_waits_until_somebody_decides(database: Database, students: Group):
    ann = await a_user(database, students)
    made = await asked(database, ann, 100, 5)
    assert (made.user, made.status, made.justification, made.reviewed_by) == ("ann", "pending", "thesis", None)
    done = await reviewed(database, made, Review(is_approved=False, reviewed_by="root", notes="no"))
    assert (done.status, done.reviewed_by, done.reviewed_utc, done.review_notes) == ("denied", "root", NOW + 1, "no")
    assert (done.granted_tokens, done.version) == (None, 2)
    assert await limits(database, ann) == Limits()


async def test_tokens_are_added_to_the_groups_budget_and_become_the_users_own(database: Database, students: Group):
    ann = await a_user(database, students)
    done = await reviewed(database, await asked(database, ann))
    assert (done.status, done.granted_tokens) == ("approved", 100)
    assert await limits(database, ann) == Limits(token_budget=1100, budget_period="monthly")
    await reviewed(database, await asked(database, ann))
    assert await limits(database, ann) == Limits(token_budget=1200, budget_period="monthly")


async def test_what_is_granted_may_be_less_than_what_was_asked(database: Database, students: Group):
    ann = await a_user(database, students, limits=Limits(token_budget=10))
    review = Review(is_approved=True, reviewed_by="root", granted_tokens=7, granted_requests_per_minute=40)
    done = await reviewed(database, await asked(database, ann, 100, 50), review)
    assert (done.granted_tokens, done.granted_requests_per_minute) == (7, 40)
    assert await limits(database, ann) == Limits(40, token_budget=17)


async def test_who_is_unlimited_stays_so(database: Database, staff: Group):
    ann = await a_user(database, staff)
    await reviewed(database, await asked(database, ann, 100, 50))
    assert await limits(database, ann) == Limits()


async def test_a_budget_does_not_overflow(database: Database, staff: Group):
    ann = await a_user(database, staff, limits=Limits(token_budget=MAX_AMOUNT - 1))
    await reviewed(database, await asked(database, ann, MAX_AMOUNT))
    assert (await limits(database, ann)).token_budget == MAX_AMOUNT


async def test_of_two_reviews_one_counts(database: Database, students: Group):
    ann = await a_user(database, students)
    request, ends = await asked(database, ann), []

    async def review() -> None:
        try:
            ends.append((await reviewed(database, request)).status)
        except Changed as exc:
            ends.append(f"at {exc.current_version}")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(review)
        nursery.start_soon(review)
    assert sorted(ends) == ["approved", "at 2"]
    assert (await limits(database, ann)).token_budget == 1100


async def test_what_cannot_be_is_refused(database: Database, staff: Group):
    ann = await a_user(database, staff)
    with pytest.raises(Invalid, match="must be given"):
        await asked(database, ann, None, None)
    with pytest.raises(Invalid, match="requested_tokens"):
        await asked(database, ann, -5)
    request = await asked(database, ann)
    with pytest.raises(Invalid, match="granted_tokens"):
        await reviewed(database, request, Review(is_approved=True, reviewed_by="root", granted_tokens=2**63))
    with pytest.raises(Changed):
        await database.transact(review_quota_request, request.id, YES, 2, NOW)
    with pytest.raises(NotFound):
        await database.transact(review_quota_request, 99, YES, None, NOW)
    found = await database.read(find_quota_request, request.id)
    assert found == request


async def test_lists_are_narrowed_newest_first(database: Database, staff: Group):
    ann, bob = await a_user(database, staff), await a_user(database, staff, "bob")
    made = [await asked(database, user) for user in (ann, bob, ann)]
    await reviewed(database, made[0])

    async def ids(**wanted) -> list[int]:
        found = await everything(database, list_quota_requests, QuotaRequestFilter(**wanted), 1)
        assert await database.read(count_quota_requests, QuotaRequestFilter(**wanted)) == len(found)
        return [each.id for each in found]

    assert await ids() == [made[2].id, made[1].id, made[0].id]
    assert await ids(user_id=ann.id) == [made[2].id, made[0].id]
    assert await ids(status="approved") == [made[0].id]
    assert await ids(status="pending", user_id=bob.id) == [made[1].id]
