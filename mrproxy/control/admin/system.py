"""Shell. `/status`, `/queue` and `/settings`: what goes on, who waits, and how the gateway is set.

None of them needs a database.
"""

import os
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from mrproxy.config import Settings, about, scalar_fields, variable_of
from mrproxy.control.api.call import Call
from mrproxy.control.api.endpoint import Answer, Endpoint
from mrproxy.control.api.problem import Problem
from mrproxy.control.permissions import Permission
from mrproxy.control.reports import Silent
from mrproxy.control.status import Status, summarize

SettingSource = Literal["default", "environment", "configured"]


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """`configured`: by the file or a flag. A secret's value is null."""

    name: str
    value: str | float | bool | None
    source: SettingSource
    unit: str
    description: str
    needs_restart: bool


class SettingsShown(msgspec.Struct, frozen=True, kw_only=True):
    items: list[Setting]


class WorkerQueue(msgspec.Struct, frozen=True, kw_only=True):
    """`flows` as the worker's scheduler has them; `error` where it gave no answer."""

    worker: str
    flows: Annotated[list[dict[str, Any]], Meta(description="Who waits for which model, with weights and deficits.")]
    error: str | None = None


class QueueShown(msgspec.Struct, frozen=True, kw_only=True):
    workers: list[WorkerQueue]


async def show_status(call: Call[None, None]) -> Answer:
    """The whole gateway at a glance, as `/status` has it."""
    return Answer(value=summarize(await call.plane.observe()))


async def show_queue(call: Call[None, None]) -> Answer:
    """Who waits for what, worker by worker."""
    if call.plane.tell is None:
        raise Problem("unavailable", "No worker can be asked.", retry_seconds=5)
    answers = await call.plane.tell("GET", "/queue")
    return Answer(value=QueueShown(workers=[queue_of(name, each) for name, each in answers.items()]))


async def show_settings(call: Call[None, None]) -> Answer:
    """The settings in force, without secrets."""
    return Answer(value=SettingsShown(items=settings_shown(call.plane.configured().settings, os.environ)))


def queue_of(worker: str, answer: bytes | Silent) -> WorkerQueue:
    if isinstance(answer, Silent):
        return WorkerQueue(worker=worker, flows=[], error=answer.reason)
    try:
        found = msgspec.json.decode(answer, type=dict[str, list[dict[str, Any]]])
    except msgspec.DecodeError as exc:
        return WorkerQueue(worker=worker, flows=[], error=f"not understood ({exc})")
    return WorkerQueue(worker=worker, flows=found.get("flows", []))


def settings_shown(settings: Settings, environment: Mapping[str, str]) -> list[Setting]:
    """Which of file and flag has set a value, only the process knows that has read them."""
    items = []
    for field in scalar_fields():
        described, value = about(field), getattr(settings, field.name)
        source: SettingSource = "default" if value == field.default else "configured"
        if variable_of(field.name) in environment:
            source = "environment"
        items.append(
            Setting(
                name=field.name,
                value=None if described.secret else value,
                source=source,
                unit=described.unit,
                description=described.doc,
                needs_restart=described.restart,
            )
        )
    return items


P = Permission
ENDPOINTS = (
    Endpoint("GET", "/status", P.PUBLIC, show_status, answer=Status),
    Endpoint("GET", "/queue", P.QUEUE_READ, show_queue, answer=QueueShown),
    Endpoint("GET", "/settings", P.SETTINGS_READ, show_settings, answer=SettingsShown),
)
