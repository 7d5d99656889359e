"""Shell. `/models`: what a token of each costs, in budgets and in money. Which there are, `/status` says.

A model that is not here weighs 1 and costs nothing. Read next: `mrproxy/storage/models.py`.
"""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.control.admin.auditing import note
from mrproxy.control.admin.listing import BothQuery, fetch_by, is_found, page_of_both
from mrproxy.control.admin.shapes import (
    CONFIGURATION,
    MANAGED,
    Name,
    Source,
    Text,
    Wanted,
    changes_of,
    configured_problem,
    fields_of,
    moment,
    must_be,
)
from mrproxy.control.api.actor import Actor
from mrproxy.control.api.call import Call
from mrproxy.control.api.endpoint import Answer, Endpoint
from mrproxy.control.api.pages import Listing, answer_page
from mrproxy.control.permissions import Permission
from mrproxy.link.snapshot import ModelSpec
from mrproxy.storage import models
from mrproxy.storage.models import Model, ModelFilter, NewModel

BudgetWeight = Annotated[float, Meta(ge=0, le=1_000_000)]
Price = Annotated[int, Meta(ge=0, le=9 * 10**12, description="Millionths of the currency per million tokens.")]


class ModelShown(msgspec.Struct, frozen=True, kw_only=True):
    """A token of the model takes `budget_weight` tokens of a budget."""

    name: str
    source: Source
    budget_weight: float = 1.0
    prompt_price: int | None = None
    completion_price: int | None = None
    description: str = ""
    created_utc: datetime | None = None
    updated_utc: datetime | None = None
    version: int = 0


class ModelWanted(Wanted, frozen=True, kw_only=True):
    """By its public name, whether a backend has it at the moment or not."""

    name: Name
    budget_weight: BudgetWeight = 1.0
    prompt_price: Price | None = None
    completion_price: Price | None = None
    description: Text = ""


class ModelChanges(Wanted, frozen=True, kw_only=True):
    """What is not named stays."""

    budget_weight: BudgetWeight | UnsetType = UNSET
    prompt_price: Price | UnsetType | None = UNSET
    completion_price: Price | UnsetType | None = UNSET
    description: Text | UnsetType = UNSET


async def list_models(call: Call[None, BothQuery]) -> Answer:
    """List weights and prices of models."""
    configured = sorted(call.plane.configured().models, key=lambda each: each.name)
    own = [show_configured(each) for each in configured if is_found(call.query.search, each.name)]
    fetch = fetch_by(call, models.list_models, ModelFilter(search=call.query.search), shown)
    return answer_page(call, *await page_of_both(call.query, str, own, fetch))


async def show_model(call: Call[None, None]) -> Answer:
    """One model's weight and prices."""
    name = call.path["model"]
    found = None if call.plane.store is None else await call.read(models.find_model, name)
    if found is not None:
        return Answer(value=shown(found), version=found.version)
    return Answer(value=show_configured(must_be(configured_model(call, name), "model", name)))


async def create_model(call: Call[ModelWanted, None]) -> Answer:
    """Say what a model weighs and costs."""
    if configured_model(call, call.request.name) is not None:
        raise configured_problem("model", call.request.name)
    model = await call.transact(write_new, call.actor, call.request, call.now_utc)
    return Answer(value=shown(model), version=model.version)


async def change_model(call: Call[ModelChanges, None]) -> Answer:
    """Change a model's weight and prices."""
    name = name_of_managed(call)
    model = await call.transact(write_changes, call.actor, name, call.request, call.version, call.now_utc)
    return Answer(value=shown(model), version=model.version)


async def delete_model(call: Call[None, None]) -> Answer:
    """Forget a model's weight and prices."""
    await call.transact(write_removal, call.actor, name_of_managed(call), call.version, call.now_utc)
    return Answer()


def name_of_managed(call: Call[Any, None]) -> str:
    """Raises Problem for one of the configuration."""
    name = call.path["model"]
    if configured_model(call, name) is not None:
        raise configured_problem("model", name)
    return name


def configured_model(call: Call[Any, Any], name: str) -> ModelSpec | None:
    return next((each for each in call.plane.configured().models if each.name == name), None)


async def write_new(connection: AsyncConnection, actor: Actor, wanted: ModelWanted, now_utc: float) -> Model:
    model = await models.create_model(connection, NewModel(**msgspec.structs.asdict(wanted)), now_utc)
    await note(connection, actor, "model.create", "model", model.name, None, model, now_utc)
    return model


async def write_changes(
    connection: AsyncConnection, actor: Actor, name: str, patch: ModelChanges, version: int | None, now_utc: float
) -> Model:
    before = await models.get_model(connection, name)
    after = await models.change_model(connection, name, changes_of(patch), version, now_utc)
    await note(connection, actor, "model.change", "model", name, before, after, now_utc)
    return after


async def write_removal(
    connection: AsyncConnection, actor: Actor, name: str, version: int | None, now_utc: float
) -> None:
    model = await models.delete_model(connection, name, version, now_utc)
    await note(connection, actor, "model.delete", "model", name, model, None, now_utc)


def shown(model: Model) -> ModelShown:
    plain = fields_of(model, ModelShown)
    plain |= {name: moment(plain[name]) for name in ("created_utc", "updated_utc")}
    return ModelShown(**plain, source=MANAGED)


def show_configured(model: ModelSpec) -> ModelShown:
    return ModelShown(name=model.name, source=CONFIGURATION, budget_weight=model.budget_weight)


P = Permission
ENDPOINTS = (
    Endpoint("GET", "/models", P.MODELS_READ, list_models, query=BothQuery, answer=Listing[ModelShown]),
    Endpoint("POST", "/models", P.MODELS_WRITE, create_model, ModelWanted, answer=ModelShown, status=201),
    Endpoint("GET", "/models/{model:path}", P.MODELS_READ, show_model, answer=ModelShown),
    Endpoint("PATCH", "/models/{model:path}", P.MODELS_WRITE, change_model, ModelChanges, answer=ModelShown),
    Endpoint("DELETE", "/models/{model:path}", P.MODELS_WRITE, delete_model, status=204),
)
