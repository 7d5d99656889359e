"""Shell. `/endpoints`: llmlb's word for backends. Which type one is, is found by asking it.

What does not answer when it is registered is registered all the same, as `pending`: the workers go on asking.
What is configured is listed, tested and not changed here.
Read next: `endpoint_shapes.py`, for statuses; `looking.py`; `../admin/backends.py`, for our own words.
"""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.config.tables import normal_url
from mrproxy.control.admin.auditing import note
from mrproxy.control.admin.backends import box_of, configured_backend, live_states, write_changes, write_removal
from mrproxy.control.admin.shapes import configured_problem, moment
from mrproxy.control.api.actor import Actor
from mrproxy.control.api.call import Call
from mrproxy.control.api.endpoint import Answer, Endpoint
from mrproxy.control.api.problem import Problem
from mrproxy.control.llmlb.endpoint_shapes import (
    EndpointDetails,
    EndpointModels,
    EndpointShown,
    EndpointsShown,
    InfoFound,
    Synced,
    Tested,
    details,
    model_shown,
    served_names,
    shown,
    status_of,
    type_of,
)
from mrproxy.control.llmlb.knowing import all_known, find_known, of_row
from mrproxy.control.llmlb.looking import kind_of, let_workers_look, look_at_known
from mrproxy.control.llmlb.manners import Text, Wanted, Word, bad_request, theirs
from mrproxy.control.permissions import Permission
from mrproxy.storage import backends
from mrproxy.storage.backends import ManagedBackend, NewBackend
from mrproxy.storage.people.errors import Taken
from mrproxy.storage.secrets import SecretBox
from mrproxy.upstream.probing import ProbeError

LEAST_INTERVAL_SECONDS, MOST_INTERVAL_SECONDS = 10, 300
MOST_TIMEOUT_SECONDS = 86_400

Capability = Literal["chat_completion", "embeddings", "image_generation", "audio_transcription", "audio_speech"]
Capabilities = Annotated[tuple[Capability, ...], Meta(max_length=5)]


class EndpointWanted(Wanted, frozen=True, kw_only=True):
    """`health_check_interval_secs` from 10 to 300."""

    name: Text
    base_url: Text
    api_key: Text | None = None
    health_check_interval_secs: int | None = None
    inference_timeout_secs: int | None = None
    notes: Text | None = None
    capabilities: Capabilities | None = None


class EndpointChanges(Wanted, frozen=True, kw_only=True):
    """Null changes nothing, but takes `notes` away. With another URL the type is found anew."""

    name: Text | None = None
    base_url: Text | None = None
    api_key: Text | None = None
    health_check_interval_secs: int | None = None
    inference_timeout_secs: int | None = None
    notes: Text | UnsetType | None = UNSET
    capabilities: Capabilities | None = None


class EndpointsQuery(Wanted, frozen=True, kw_only=True):
    status: Word | None = None
    type: Word | None = None


async def list_endpoints(call: Call[None, EndpointsQuery]) -> Answer:
    """List endpoints."""
    query = call.query
    wanted = [
        shown(each, call.now_utc)
        for each in await all_known(call)
        if query.status in (None, status_of(each)) and query.type in (None, type_of(each))
    ]
    return Answer(value=EndpointsShown(wanted, len(wanted)))


async def show_endpoint(call: Call[None, None]) -> Answer:
    """One endpoint, with its models."""
    return Answer(value=details(await find_known(call, call.path["id"]), call.now_utc))


async def list_models(call: Call[None, None]) -> Answer:
    """The models of an endpoint, as the workers have them."""
    known = await find_known(call, call.path["id"])
    return Answer(value=EndpointModels(known.id, [model_shown(name) for name in known.models]))


async def create_endpoint(call: Call[EndpointWanted, None]) -> Answer:
    """Register an endpoint; its type is found by asking it."""
    wanted = call.request
    if not wanted.name.strip():
        raise bad_request("Name must not be empty")
    if configured_backend(call, wanted.name) is not None:
        raise configured_problem("endpoint", wanted.name)
    seconds = seconds_in(wanted)
    url = url_in(wanted.base_url)
    new = NewBackend(
        name=wanted.name,
        url=url,
        kind=await kind_of(url, usable_key(wanted.api_key)),
        api_key=wanted.api_key,
        notes=wanted.notes or "",
        capabilities=wanted.capabilities,
        **seconds,
    )
    made = await call.transact(write_new, call.actor, new, box_of(call), call.now_utc)
    return Answer(value=shown(of_row(made, await live_states(call)), call.now_utc), status=201)


async def change_endpoint(call: Call[EndpointChanges, None]) -> Answer:
    """Change an endpoint."""
    wanted, row = call.request, await managed(call)
    changes: dict[str, object] = dict(seconds_in(wanted))
    given = {"name": wanted.name, "api_key": wanted.api_key, "capabilities": wanted.capabilities}
    changes |= {name: value for name, value in given.items() if value is not None}
    if not isinstance(wanted.notes, UnsetType):
        changes["notes"] = wanted.notes or ""
    if wanted.base_url is not None and (url := url_in(wanted.base_url)) != row.url:
        changes |= {"url": url, "kind": await kind_of(url, usable_key(wanted.api_key))}
    if changes:
        row = await changed(call, row, changes)
    return Answer(value=shown(of_row(row, await live_states(call)), call.now_utc))


async def delete_endpoint(call: Call[None, None]) -> Answer:
    """Remove an endpoint."""
    row = await managed(call)
    await call.transact(write_removal, call.actor, row.id, call.version, call.now_utc)
    return Answer()


async def try_endpoint(call: Call[None, None]) -> Answer:
    """Ask an endpoint whether it is there, and which models it has."""
    known = await find_known(call, call.path["id"])
    look = await look_at_known(call, known)
    await let_workers_look(call, known)
    if isinstance(look.found, ProbeError):
        latency_ms = look.latency_ms if look.has_answer else None
        return Answer(value=Tested(success=False, latency_ms=latency_ms, error=str(look.found)))
    names = sorted(model.name for model in look.found.models)
    info = InfoFound(len(names))
    return Answer(value=Tested(success=True, latency_ms=look.latency_ms, models_found=names, endpoint_info=info))


async def sync_endpoint(call: Call[None, None]) -> Answer:
    """Ask an endpoint for its models, and let the workers do the same."""
    known = await find_known(call, call.path["id"])
    look = await look_at_known(call, known)
    if isinstance(look.found, ProbeError):
        raise Problem("backend" if look.has_answer else "unavailable", f"Failed to sync models: {look.found}")
    await let_workers_look(call, known)
    here = known.row or known.spec
    assert here is not None
    lengths = {model.name: model.context_tokens for model in look.found.models}
    names = served_names(list(lengths), here.models, here.aliases)
    had = set(known.models)
    synced = [model_shown(name, lengths[own], moment(call.now_utc)) for name, own in sorted(names.items())]
    removed, updated = len(had - names.keys()), len(had & names.keys())
    return Answer(value=Synced(synced_models=synced, added=len(names) - updated, removed=removed, updated=updated))


async def managed(call: Call[Any, None]) -> ManagedBackend:
    """Raises Problem for one of the configuration."""
    known = await find_known(call, call.path["id"])
    if known.row is None:
        raise configured_problem("endpoint", known.name)
    return known.row


async def changed(call: Call[Any, None], row: ManagedBackend, changes: dict[str, object]) -> ManagedBackend:
    try:
        return await call.transact(
            write_changes, call.actor, "backend.change", row.id, changes, call.version, box_of(call), call.now_utc
        )
    except Taken as exc:
        raise said_of(exc) from exc


async def write_new(
    connection: AsyncConnection, actor: Actor, new: NewBackend, box: SecretBox, now_utc: float
) -> ManagedBackend:
    try:
        made = await backends.create_backend(connection, new, box, now_utc)
    except Taken as exc:
        raise said_of(exc) from exc
    await note(connection, actor, "backend.create", "backend", made.name, None, made, now_utc)
    return made


def said_of(taken: Taken) -> Exception:
    """A name that is taken is a mistake there, a URL that is taken a conflict."""
    return bad_request("Endpoint name already exists") if taken.field == "name" else taken


def url_in(text: str) -> str:
    """Raises Problem."""
    try:
        return normal_url(text.strip())
    except ValueError as exc:
        raise bad_request(f"Invalid base_url: {exc}") from exc


def usable_key(api_key: str | None) -> str | None:
    """None for what could be no header's value: storage will refuse it, with a reason."""
    return api_key if api_key and all("!" <= each <= "~" for each in api_key) else None


def seconds_in(wanted: EndpointWanted | EndpointChanges) -> dict[str, Any]:
    """What is named of both. Raises Problem."""
    interval, timeout = wanted.health_check_interval_secs, wanted.inference_timeout_secs
    if interval is not None and not LEAST_INTERVAL_SECONDS <= interval <= MOST_INTERVAL_SECONDS:
        limits = f"{LEAST_INTERVAL_SECONDS} and {MOST_INTERVAL_SECONDS}"
        raise bad_request(f"Health check interval must be between {limits} seconds")
    if timeout is not None and not 1 <= timeout <= MOST_TIMEOUT_SECONDS:
        raise bad_request(f"Inference timeout must be between 1 and {MOST_TIMEOUT_SECONDS} seconds")
    named = {"health_check_interval_seconds": interval, "inference_timeout_seconds": timeout}
    return {name: float(value) for name, value in named.items() if value is not None}


P = Permission
TAG = "llmlb: endpoints"
ALL, ONE = "/endpoints", "/endpoints/{id}"
ENDPOINTS = (
    Endpoint("GET", ALL, P.BACKENDS_READ, theirs(list_endpoints), query=EndpointsQuery, answer=EndpointsShown, tag=TAG),
    Endpoint(
        "POST",
        ALL,
        P.BACKENDS_WRITE,
        theirs(create_endpoint),
        EndpointWanted,
        answer=EndpointShown,
        status=201,
        tag=TAG,
    ),
    Endpoint("GET", ONE, P.BACKENDS_READ, theirs(show_endpoint), answer=EndpointDetails, tag=TAG),
    Endpoint("PUT", ONE, P.BACKENDS_WRITE, theirs(change_endpoint), EndpointChanges, answer=EndpointShown, tag=TAG),
    Endpoint("DELETE", ONE, P.BACKENDS_WRITE, theirs(delete_endpoint), status=204, tag=TAG),
    Endpoint("POST", f"{ONE}/test", P.BACKENDS_WRITE, theirs(try_endpoint), answer=Tested, tag=TAG, publishes=False),
    Endpoint("POST", f"{ONE}/sync", P.BACKENDS_WRITE, theirs(sync_endpoint), answer=Synced, tag=TAG, publishes=False),
    Endpoint("GET", f"{ONE}/models", P.BACKENDS_READ, theirs(list_models), answer=EndpointModels, tag=TAG),
)
