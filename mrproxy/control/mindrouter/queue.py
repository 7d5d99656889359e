"""Shell. `/api/admin/queue` and `/queue/monitor`: who waits, what could take it, how long it took lately.

As there, `total` is who waits and who is served. `burst_credits` are part of a deficit here, and null; when the oldest
one began to wait, workers do not say: null. Read next: `mrproxy/scheduler/ring.py`, where deficits come from.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.control.admin.system import queue_of
from mrproxy.control.api.call import Call
from mrproxy.control.api.endpoint import Answer, Endpoint
from mrproxy.control.mindrouter.backends import status_of
from mrproxy.control.mindrouter.values import configured_number
from mrproxy.control.permissions import Permission
from mrproxy.control.reports import is_routable
from mrproxy.control.status import Status, summarize
from mrproxy.storage.activity import sum_ended
from mrproxy.storage.numbers import numbers_of
from mrproxy.storage.outcomes import Timing, sum_timings
from mrproxy.storage.records import RecordFilter
from mrproxy.storage.usage_reports import sum_records

FAIRNESS_WINDOW_SECONDS = 300
MOST_USERS = 500
MOST_MINUTES = 10_080  # a week
USER, KEY = "user:", "key:"


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """As a worker has it. `flow_id`: `user:<name>` or `key:<id>`."""

    flow_id: str
    weight: int
    waiting: int
    in_flight: int
    deficit_tokens: int


class ModelQueue(msgspec.Struct, frozen=True, kw_only=True):
    model: str
    waiting: int
    flows: tuple[Flow, ...] = ()


class QueueTotals(msgspec.Struct, frozen=True, kw_only=True):
    """`by_user`: who waits, by the user's number; a key without a user by its id."""

    total: int
    waiting: int
    by_user: dict[str, int]
    by_model: dict[str, int]
    average_wait_seconds: float


class UserShare(msgspec.Struct, frozen=True, kw_only=True):
    """`weight`, `deficit` and what follows are of those who wait; null for who was only there lately."""

    user_id: int | None
    username: str
    recent_tokens: int
    weight: int | None = None
    deficit: int | None = None
    burst_credits: int | None = None
    active_requests: int | None = None


class FairShare(msgspec.Struct, frozen=True, kw_only=True):
    total_users: int
    global_recent_tokens: int
    fairness_window_seconds: int
    user_stats: list[UserShare]


class QueueShown(msgspec.Struct, frozen=True, kw_only=True):
    """`backend_queues`: how many requests each backend has, by its number."""

    queue: QueueTotals
    fair_share: FairShare
    backend_queues: dict[str, int]


class Queued(msgspec.Struct, frozen=True, kw_only=True):
    model: str
    queued: int
    oldest: str | None = None
    newest: str | None = None


class Slot(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    status: str
    max_concurrent: int
    current_concurrent: int


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    backends: list[Slot]
    total_max_concurrent: int
    healthy_backends: int


class Took(msgspec.Struct, frozen=True, kw_only=True):
    model: str
    status: str
    count: int
    min_s: float
    avg_s: float
    max_s: float


class TookOfUser(Took, frozen=True, kw_only=True):
    username: str


class Monitor(msgspec.Struct, frozen=True, kw_only=True):
    window_minutes: int
    queued: list[Queued]
    capacity: dict[str, Capacity]
    by_user: list[TookOfUser]
    by_model: list[Took]


class MonitorQuery(msgspec.Struct, frozen=True, kw_only=True):
    window: Annotated[int, Meta(ge=1, le=MOST_MINUTES, description="Minutes.")] = 5


class Lately(msgspec.Struct, frozen=True):
    """What the database says: tokens of users, numbers of users and backends, how long was waited."""

    tokens: dict[str, int]
    users: dict[str, int]
    backends: dict[str, int]
    mean_wait_seconds: float


async def show_queue(call: Call[None, None]) -> Answer:
    """Who waits, and how the shares stand."""
    status, queues = summarize(await call.plane.observe()), await model_queues(call)
    flows = [flow for queue in queues for flow in queue.flows]
    names = {flow.flow_id.removeprefix(USER) for flow in flows if flow.flow_id.startswith(USER)}
    lately = await call.read(read_lately, names, [each["name"] for each in status["backends"]], call.now_utc)
    return Answer(
        value=QueueShown(
            queue=totals_of(status, queues, flows, lately),
            fair_share=shares_of(flows, lately),
            backend_queues={
                str(lately.backends.get(each["name"], configured_number(each["name"]))): each["in_flight"]
                for each in status["backends"]
            },
        )
    )


async def show_monitor(call: Call[None, MonitorQuery]) -> Answer:
    """Queues, capacity, and how long requests took lately."""
    status, queues = summarize(await call.plane.observe()), await model_queues(call)
    window = call.query.window
    by_user, by_model = await call.read(read_timings, call.now_utc - 60.0 * window)
    waiting = counted((queue.model, queue.waiting) for queue in queues)
    queued = [Queued(model=model, queued=count) for model, count in waiting.most_common()]
    return Answer(
        value=Monitor(
            window_minutes=window,
            queued=queued,
            capacity=capacities(status),
            by_user=[TookOfUser(**took(each), username=each.user) for each in by_user],
            by_model=[Took(**took(each)) for each in by_model],
        )
    )


async def model_queues(call: Call[Any, Any]) -> list[ModelQueue]:
    """Of all workers that answer."""
    if call.plane.tell is None:
        return []
    answers = await call.plane.tell("GET", "/queue")
    found: list[ModelQueue] = []
    for name, answer in answers.items():
        with suppress(msgspec.ValidationError):  # a worker of another version
            found += msgspec.convert(queue_of(name, answer).flows, list[ModelQueue])
    return found


async def read_lately(connection: AsyncConnection, names: Iterable[str], backends: list[str], now_utc: float) -> Lately:
    since_utc = now_utc - FAIRNESS_WINDOW_SECONDS
    sums = await sum_records(connection, "user", RecordFilter(since_utc=since_utc), MOST_USERS)
    tokens = {each.name: each.total_tokens for each in sums if each.name}
    users = await numbers_of(connection, "user", {*names, *tokens})
    ended = await sum_ended(connection, since_utc, now_utc)
    return Lately(tokens, users, await numbers_of(connection, "backend", backends), ended.queue_seconds)


async def read_timings(connection: AsyncConnection, since_utc: float) -> tuple[list[Timing], list[Timing]]:
    by_user = await sum_timings(connection, since_utc, by_user=True)
    return by_user, await sum_timings(connection, since_utc, by_user=False)


def totals_of(status: Status, queues: list[ModelQueue], flows: list[Flow], lately: Lately) -> QueueTotals:
    waiting = sum(queue.waiting for queue in queues)
    return QueueTotals(
        total=waiting + status["in_flight"],
        waiting=waiting,
        by_user=dict(counted((number_of(flow.flow_id, lately.users), flow.waiting) for flow in flows)),
        by_model=dict(counted((queue.model, queue.waiting) for queue in queues)),
        average_wait_seconds=round(lately.mean_wait_seconds, 3),
    )


def shares_of(flows: list[Flow], lately: Lately) -> FairShare:
    """Who waits first, then who was there lately; a user that waits for two models is one line for each."""
    waiting = [share_of(flow, lately) for flow in flows]
    seen = {each.username for each in waiting}
    others = [
        UserShare(user_id=lately.users.get(name), username=name, recent_tokens=tokens)
        for name, tokens in lately.tokens.items()
        if name not in seen
    ]
    return FairShare(
        total_users=len(seen) + len(others),
        global_recent_tokens=sum(lately.tokens.values()),
        fairness_window_seconds=FAIRNESS_WINDOW_SECONDS,
        user_stats=[*waiting, *others],
    )


def share_of(flow: Flow, lately: Lately) -> UserShare:
    name = flow.flow_id.removeprefix(USER)
    return UserShare(
        user_id=lately.users.get(name),
        username=name,
        recent_tokens=lately.tokens.get(name, 0),
        weight=flow.weight,
        deficit=flow.deficit_tokens,
        active_requests=flow.in_flight,
    )


def number_of(flow_id: str, users: Mapping[str, int]) -> str:
    if not flow_id.startswith(USER):
        return flow_id
    name = flow_id.removeprefix(USER)
    return str(users.get(name, configured_number(name)))


def capacities(status: Status) -> dict[str, Capacity]:
    """By model: what could take a request for it."""
    by_name = {each["name"]: each for each in status["backends"]}
    found: dict[str, Capacity] = {}
    for model in status["models"]:
        holders = [by_name[name] for name in model["backends"]]
        found[model["name"]] = Capacity(
            backends=[
                Slot(
                    name=each["name"],
                    status=status_of(each),
                    max_concurrent=each["max_concurrent"],
                    current_concurrent=each["in_flight"],
                )
                for each in holders
            ],
            total_max_concurrent=sum(each["max_concurrent"] for each in holders),
            healthy_backends=sum(is_routable(each["state"]) for each in holders),
        )
    return found


def took(timing: Timing) -> dict[str, Any]:
    return {
        "model": timing.model,
        "status": timing.outcome,
        "count": timing.requests,
        "min_s": round(timing.least_seconds, 1),
        "avg_s": round(timing.mean_seconds, 1),
        "max_s": round(timing.most_seconds, 1),
    }


def counted(pairs: Iterable[tuple[str, int]]) -> Counter[str]:
    found: Counter[str] = Counter()
    for name, count in pairs:
        found[name] += count
    return found


P = Permission
TAG = "MindRouter: queue"
ENDPOINTS = (
    Endpoint("GET", "/queue", P.QUEUE_READ, show_queue, answer=QueueShown, tag=TAG),
    Endpoint("GET", "/queue/monitor", P.QUEUE_READ, show_monitor, query=MonitorQuery, answer=Monitor, tag=TAG),
)
