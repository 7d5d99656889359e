"""Snapshots that come in the middle of requests: keys, users, pots, weights and backends change or vanish."""

import random
from collections import Counter
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
import trio
from msgspec.structs import replace

from mrproxy.identity.digest import digest_key
from mrproxy.ledger.sums import Sums, charged_to_budgets
from mrproxy.link.snapshot import KeySpec, Limits, ModelSpec, Snapshot, UserSpec, read, write
from mrproxy.provision import read_secret
from tests.fakes.behaviours import sized
from tests.fakes.caller import KEY, chat, request
from tests.fakes.gateway import Gateway, run_gateway, wait_until
from tests.fakes.loop_engine import Behaviour, Turn, run_engine
from tests.fakes.speaking import DIALECTS, document, stream_pieces, wants_stream
from tests.test_settlement import COUNTERS

pytestmark = pytest.mark.slow

NAMES = ("openai", "completions", "anthropic", "ollama", "generate", "responses")
POT = Limits(token_budget=10**9)
SOME_LIMITS = (Limits(), Limits(concurrent_requests=6), POT, Limits(tokens_per_minute=10**6, requests_per_minute=6000))


class Snapshots:
    """What is in force, and how it is replaced."""

    def __init__(self, gateway: Gateway) -> None:
        self._worker = gateway.worker
        self._path = gateway.worker._follower.path
        self._secret = read_secret(gateway.worker._directory)
        self.first = self._last = read(self._path)

    def key(self, key: str, user: str | None, limits: Limits = SOME_LIMITS[0]) -> KeySpec:
        digest = digest_key(self._secret, key.encode()).hex()
        return KeySpec(key, key, digest, user, limits=limits, group="staff")

    def with_pot(self, pot: Limits) -> Snapshot:
        groups = [replace(group, shared=pot) if group.name == "staff" else group for group in self.first.groups]
        return replace(self.first, groups=tuple(groups), users=(*self.first.users, UserSpec("bob", "staff")))

    async def publish(self, wanted: Snapshot) -> None:
        self._last = replace(wanted, generation=self._last.generation + 1)
        write(self._path, self._last)
        await self._worker._looks.wait_round()


@pytest.mark.parametrize("user", ["bob", None])
async def test_a_key_that_changes_hands_while_its_body_comes_is_charged_to_whom_the_record_names(
    tmp_path: Path, user: str | None
) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        snapshots = Snapshots(gateway)
        caller, asked = await gateway.connect(), request("/v1/chat/completions", chat())
        await caller.send(asked[:-5])
        await wait_until(lambda: gateway.stages.identity.known)
        await snapshots.publish(replace(snapshots.with_pot(POT), keys=(snapshots.key(KEY, user),)))
        await caller.send(asked[-5:])
        assert (await caller.read_answer()).status == 200
        assert (await gateway.last_record()).user == (user or "")
        await check_sums(gateway)


async def test_a_key_that_is_revoked_while_its_body_comes_is_refused(tmp_path: Path) -> None:
    async with run_engine() as engine, run_gateway(tmp_path, engine) as gateway:
        snapshots = Snapshots(gateway)
        caller, asked = await gateway.connect(), request("/v1/chat/completions", chat())
        await caller.send(asked[:-5])
        await wait_until(lambda: gateway.stages.identity.known)
        await snapshots.publish(replace(snapshots.first, keys=()))
        await caller.send(asked[-5:])
        assert (await caller.read_answer()).status == 401
        assert (await gateway.last_record()).code == "invalid_key"
        assert not engine.turns


async def check_sums(gateway: Gateway) -> None:
    """What accounts have spent is what the records say, each of which is there once."""
    registry = gateway.stages.registry
    await gateway.settled()
    await wait_until(lambda: not registry._retiring)
    await registry.wait_settled()
    sums, ids = Sums(), Counter(record.request_id for record in gateway.records())
    assert set(ids.values()) <= {1}
    for record in gateway.records():
        sums.add(record, charged_to_budgets(record))
    wanted = {"key": sums.by_key_id, "user": sums.by_user, "group": sums.by_group}
    for account in gateway.stages.ledger.statistics(trio.current_time()):
        assert account.spent_tokens == wanted[account.owner].get(account.name, 0), account


# Everything at once


async def nap(dice: random.Random) -> None:
    """Often none at all: then what follows comes in the same read."""
    if dice.random() < 0.6:
        await trio.sleep(dice.choice((0.0, 0.0, 0.004 * dice.random(), 0.02 * dice.random())))


def whimsical(dice: random.Random) -> Behaviour:
    """An engine that mostly answers; it knows how long prompts are, mostly."""

    async def behave(turn: Turn) -> None:
        path = turn.request.path
        is_question = path in COUNTERS or path.endswith(("/render", "/input_tokens"))
        await nap(dice)
        fate = dice.random()
        if fate < 0.05:
            turn.reset()
        elif fate < 0.09:
            await turn.send(sized(b'{"error":{"message":"no"}}', status=dice.choice((400, 429, 500, 503))))
        elif is_question:
            await turn.send(sized(msgspec.json.encode(COUNTERS.get(path, {"token_ids": [1] * 40}))))
        elif wants_stream(turn):
            pieces = stream_pieces(path, ("one", "two", "three"), (dice.randrange(1, 50), 3))
            whole = dice.random() < 0.85
            for piece in pieces if whole else pieces[: dice.randrange(len(pieces))]:
                await turn.send(piece)
                await nap(dice)
            if not whole:
                turn.reset()
        else:
            await turn.send(sized(document(path, "one", (dice.randrange(1, 50), 3))))

    return behave


async def ask_and_leave(gateway: Gateway, dice: random.Random, keys: list[str]) -> None:
    """Connections, one after the other; each repeats itself often enough to go the express way."""
    for _ in range(10):
        caller, key = await gateway.connect(), dice.choice(keys).encode()
        usual = DIALECTS[dice.choice(NAMES)].ask(stream=dice.random() < 0.6)
        # The gateway may have closed it meanwhile: it was revoked, or the answer before broke off.
        with suppress(AssertionError, trio.BrokenResourceError):
            for _ in range(dice.randrange(1, 8)):
                other = DIALECTS[dice.choice(NAMES)].ask(stream=dice.random() < 0.6)
                asked = (usual if dice.random() < 0.6 else other).replace(KEY.encode(), key)
                half = dice.randrange(len(asked)) if dice.random() < 0.2 else len(asked)
                await caller.send(asked[:half])
                if half < len(asked):
                    await nap(dice)
                    await caller.send(asked[half:])
                if dice.random() < 0.25:
                    with trio.move_on_after(0.02 * dice.random()):
                        await caller.read_answer()
                    break
                await caller.read_answer()
        await caller.leave(rudely=dice.random() < 0.3)
        gateway.callers.remove(caller)


async def change_everything(snapshots: Snapshots, dice: random.Random, keys: list[str]) -> None:
    while True:
        wanted = snapshots.with_pot(dice.choice(SOME_LIMITS))
        owners = ("ada", "bob", None)
        there = [snapshots.key(key, dice.choice(owners), dice.choice(SOME_LIMITS)) for key in keys]
        models = (ModelSpec("m", dice.choice((1.0, 2.5, 0.3))),)
        backends = [replace(each, max_concurrent=dice.choice((1, 4, 64))) for each in wanted.backends]
        await snapshots.publish(
            replace(
                wanted,
                keys=(*wanted.keys, *(key for key in there if dice.random() < 0.85)),
                models=models if dice.random() < 0.7 else (),
                backends=tuple(each for each in backends if dice.random() < 0.9) or wanted.backends,
            )
        )
        await trio.sleep(0.05 * dice.random())


@pytest.mark.parametrize("kind", ["vllm", "ollama", "anthropic"])
async def test_whatever_changes_meanwhile_nothing_is_lost_or_counted_twice(tmp_path: Path, kind: str) -> None:
    dice, keys = random.Random(kind), [f"key-{number}" for number in range(4)]
    settings = {"aborted_prompts": "always", "drain_seconds": 0.05, "retry_budget_percent": 100, "ping_seconds": 0.01}
    async with (
        run_engine("engine-a") as a,
        run_engine("engine-b", kind) as b,
        run_gateway(tmp_path, a, b, breaker_failures=1000, breaker_min_requests=10_000, **settings) as gateway,  # type: ignore[arg-type]
    ):
        a.behaviour = b.behaviour = whimsical(dice)
        snapshots = Snapshots(gateway)
        await snapshots.publish(snapshots.with_pot(POT))
        first = await gateway.connect()
        await first.ask()  # the pot is there; one that came in the middle of requests would not know of these
        await first.read_answer()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(change_everything, snapshots, dice, keys)
            async with trio.open_nursery() as callers:
                for _ in range(10):
                    callers.start_soon(ask_and_leave, gateway, dice, [KEY, *keys])
            nursery.cancel_scope.cancel()
        await snapshots.publish(snapshots.with_pot(POT))
        await wait_until(lambda: len(gateway.stages.registry.backends) == 2)
        await check_sums(gateway)
        codes = Counter(record.code for record in gateway.records())
        assert min(codes[""], codes["client_departed"]) > 0
