"""Shell. `Idempotency-Key`: a POST that is sent twice is done once, and both get the same answer, for 24 hours.

The key is the caller's: the same one of somebody else, or for another route, is another. The same with another body is
a mistake (422), while the first still runs a 409. Strangers have none: they could not be told apart. Answers are kept
encrypted under the data directory's secret, so that one that shows a new key can be given again to whoever did not get
it: that is what such keys are for.
Read next: `mrproxy/storage/idempotency.py`, for why nothing is done twice.
"""

import hashlib
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec
import trio

from mrproxy.control.api.actor import Actor
from mrproxy.control.api.call import Call, in_time
from mrproxy.control.api.endpoint import Answer, Endpoint
from mrproxy.control.api.failures import STORAGE_ERRORS, problem_of
from mrproxy.control.api.problem import Problem
from mrproxy.control.api.serving import handle
from mrproxy.storage.idempotency import COMMITTED, Earlier, claim, keep_answer, mark_committed, release
from mrproxy.storage.secrets import SecretBox, SecretUnreadable

HEADER = "idempotency-key"
MAX_KEY_CHARACTERS = 255
PURPOSE = "answers to be repeated"
REPLAYED = ("Idempotent-Replayed", "true")
CLEANUP_SECONDS = 2.0


class Kept(msgspec.Struct, frozen=True):
    """An answer, as it is stored."""

    value: Any
    version: int | None
    is_live: bool


async def carry_out(endpoint: Endpoint, call: Call[Any, Any], body: bytes) -> Answer:
    """A call, once. Raises Problem."""
    given = call.headers.get(HEADER, "")
    if endpoint.method != "POST" or not given or call.plane.store is None or not call.actor.is_known:
        return await handle(endpoint, call)
    if len(given) > MAX_KEY_CHARACTERS:
        raise Problem("malformed", f"An Idempotency-Key has at most {MAX_KEY_CHARACTERS} characters.")
    key = digest_of(identity_of(call.actor), call.url, given)
    earlier = await stored(call, partial(claim, key=key, fingerprint=digest_of(body.hex()), now_utc=call.now_utc))
    if earlier is not None:
        return repeated(call, earlier, digest_of(body.hex()))
    return await done_once(endpoint, call, key)


async def done_once(endpoint: Endpoint, call: Call[Any, Any], key: str) -> Answer:
    """Run it, and keep the answer; or give the key back if nothing came of it."""
    try:
        answer = await handle(endpoint, replace(call, in_transaction=partial(mark_committed, key=key)))
    except BaseException:
        with trio.move_on_after(CLEANUP_SECONDS, shield=True):
            await given_back(call, key)
        raise
    kept = msgspec.json.encode(Kept(answer.value, answer.version, answer.is_live)).decode()
    status = answer.status or endpoint.status
    keep = partial(keep_answer, key=key, status=status, body=box_of(call).seal(kept), location=answer.location)
    with suppress(Problem):  # it is done; a second request will be told that its answer was lost
        await stored(call, keep)
    return answer


async def given_back(call: Call[Any, Any], key: str) -> None:
    """As well as it can be done: a database that is away has the key for RUNNING_SECONDS more."""
    with suppress(Problem):
        await stored(call, partial(release, key=key))


def repeated(call: Call[Any, Any], earlier: Earlier, fingerprint: str) -> Answer:
    """What the first request was answered. Raises Problem."""
    if earlier.fingerprint != fingerprint:
        raise Problem("key-reused", "This Idempotency-Key came with another body before.")
    if earlier.status is None:
        raise Problem("conflict", "The first request with this Idempotency-Key still runs.", retry_seconds=1)
    if earlier.status == COMMITTED or earlier.body is None:
        raise Problem("conflict", "It was done, but its answer was lost: look at what there is now.")
    try:
        kept = msgspec.json.decode(box_of(call).open(earlier.body), type=Kept)
    except SecretUnreadable as exc:
        raise Problem("conflict", "It was done, but its answer cannot be read any more.") from exc
    return Answer(
        value=kept.value,
        status=earlier.status,
        version=kept.version,
        is_live=kept.is_live,
        location=earlier.location or "",
        headers=(REPLAYED,),
    )


async def stored(call: Call[Any, Any], function: Any) -> Any:
    """In a transaction of its own. Raises Problem."""
    assert call.plane.store is not None
    try:
        return await in_time(call.plane.store.transact, function)
    except STORAGE_ERRORS as exc:
        raise problem_of(exc, is_conditional=False) from exc


def identity_of(actor: Actor) -> str:
    """Whoever signs in anew is still the same; two keys of one user are two."""
    return f"{actor.kind} {actor.user_id} {actor.key_id} {actor.name}"


def digest_of(*parts: str) -> str:
    digest = hashlib.blake2b(digest_size=24)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def box_of(call: Call[Any, Any]) -> SecretBox:
    return SecretBox(call.plane.secret, PURPOSE)
