"""Shell. `/api/admin/backends/{id}/ollama/…`: pull a model, look how far it is, delete one.

The control process talks to the engine itself; workers learn of it by a probe that is asked for when it is done.
Pulls run in the nursery of the application (Quart-Trio opens it with the server and closes it with it).
Read next: `pulls.py`.
"""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, cast
from urllib.parse import quote

import msgspec
import trio
from msgspec import Meta
from quart import current_app
from quart_trio import QuartTrio
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.control.admin.auditing import note
from mrproxy.control.admin.backends import box_of, live_states
from mrproxy.control.api.actor import Actor
from mrproxy.control.api.call import Call
from mrproxy.control.api.endpoint import Answer, Endpoint
from mrproxy.control.api.problem import Problem
from mrproxy.control.mindrouter.backends import found_spec
from mrproxy.control.mindrouter.pulls import Engine, PullJob, PullJobs, delete_model
from mrproxy.control.mindrouter.values import Done, not_found, number_in
from mrproxy.control.permissions import Permission
from mrproxy.link.snapshot import BackendSpec
from mrproxy.storage.backends import ManagedBackend, api_key_of
from mrproxy.storage.secrets import SecretUnreadable

OLLAMA = "ollama"


class ModelNamed(msgspec.Struct, frozen=True, kw_only=True):
    model: Annotated[str, Meta(min_length=1, max_length=512)]


class Started(msgspec.Struct, frozen=True, kw_only=True):
    job_id: str
    status: str


class OnModel(msgspec.Struct, frozen=True, kw_only=True):
    """For the audit log."""

    model: str


@dataclass(frozen=True, slots=True)
class OllamaModels:
    """The endpoints, and the jobs that they share."""

    jobs: PullJobs

    def endpoints(self) -> tuple[Endpoint, ...]:
        write, read = Permission.BACKENDS_WRITE, Permission.BACKENDS_READ
        tag, one = "MindRouter: Ollama", "/backends/{backend_id}/ollama"
        return (
            Endpoint("POST", f"{one}/pull", write, self.pull, ModelNamed, answer=Started, tag=tag, publishes=False),
            Endpoint("GET", one + "/pull/{job_id}", read, self.show_job, answer=PullJob, tag=tag),
            Endpoint("POST", f"{one}/delete", write, self.delete, ModelNamed, answer=Done, tag=tag, publishes=False),
        )

    async def pull(self, call: Call[ModelNamed, None]) -> Answer:
        """Begin to pull a model to an Ollama backend."""
        number, model = number_in(call, "backend_id"), call.request.model
        backend = await ollama_backend(call, number)
        engine = await engine_of(call, backend)
        await call.transact(write_pull, call.actor, "ollama.pull", backend.name, model, call.now_utc)
        job = self.jobs.start(application_nursery(), number, engine, model, partial(look_again, call, backend.name))
        return Answer(value=Started(job_id=job.job_id, status=job.status))

    async def show_job(self, call: Call[None, None]) -> Answer:
        """How far a pull is."""
        job = self.jobs.find(number_in(call, "backend_id"), call.path["job_id"])
        if job is None:
            raise not_found("Pull job")
        return Answer(value=job)

    async def delete(self, call: Call[ModelNamed, None]) -> Answer:
        """Delete a model from an Ollama backend."""
        model = call.request.model
        backend = await ollama_backend(call, number_in(call, "backend_id"))
        await delete_model(await engine_of(call, backend), model)
        await call.transact(write_pull, call.actor, "ollama.delete", backend.name, model, call.now_utc)
        await look_again(call, backend.name)
        return Answer(value=Done(status="success", model=model))


def application_nursery() -> trio.Nursery:
    return cast("QuartTrio", current_app).nursery


async def look_again(call: Call[Any, Any], name: str) -> None:
    """The workers, as far as they can be told: they look by themselves, too, if later."""
    if call.plane.tell is not None:
        await call.plane.tell("POST", f"/backends/{quote(name, safe='')}/probe")


async def ollama_backend(call: Call[Any, Any], number: int) -> ManagedBackend | BackendSpec:
    """Raises Problem for one that is no Ollama."""
    backend = await found_spec(call, number)
    live = (await live_states(call)).get(backend.name) if backend.kind == "auto" else None
    if OLLAMA not in (backend.kind, None if live is None else live["kind"]):
        raise Problem("malformed", "Backend is not an Ollama engine")
    return backend


async def engine_of(call: Call[Any, Any], backend: ManagedBackend | BackendSpec) -> Engine:
    """Raises Problem."""
    if isinstance(backend, BackendSpec):
        return Engine(backend.url, backend.api_key)
    try:
        return Engine(backend.url, await call.read(api_key_of, backend.id, box_of(call)))
    except SecretUnreadable as exc:
        raise Problem("conflict", "The backend's API key cannot be read any more; set it again.") from exc


async def write_pull(
    connection: AsyncConnection, actor: Actor, action: str, backend: str, model: str, now_utc: float
) -> None:
    await note(connection, actor, action, "backend", backend, None, OnModel(model=model), now_utc)
