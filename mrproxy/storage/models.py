"""Shell. What is known of a model beside where it runs: its weight in budgets, its prices, a description.

Prices are millionths of the currency per million tokens, so that sums stay whole numbers. A model that is not here
weighs 1 and costs nothing. The rules of the package `people` hold here, too.
"""

from typing import Any

import msgspec
from sqlalchemy import Select, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.storage.facts import begin_change
from mrproxy.storage.people.checks import (
    MAX_AMOUNT,
    MAX_WEIGHT,
    Check,
    check_all,
    check_count,
    check_name,
    check_number,
    check_text,
    clean,
    or_none,
)
from mrproxy.storage.people.errors import Invalid, NotFound, Taken
from mrproxy.storage.people.pages import AnyRow, contains, count_rows, read_page, update_row
from mrproxy.storage.people.values import Page
from mrproxy.storage.schema_control import models


class NewModel(msgspec.Struct, frozen=True, kw_only=True):
    """A token of the model takes `budget_weight` tokens of a budget."""

    name: str
    budget_weight: float = 1.0
    prompt_price: int | None = None
    completion_price: int | None = None
    description: str = ""


class Model(NewModel, frozen=True, kw_only=True):
    created_utc: float
    updated_utc: float
    version: int


class ModelFilter(msgspec.Struct, frozen=True, kw_only=True):
    """`search`: part of name or description, in any case."""

    search: str = ""


def check_budget_weight(field: str, value: object) -> float:
    weight = check_number(field, value)
    if weight > MAX_WEIGHT:
        raise Invalid(field, f"must be at most {MAX_WEIGHT}")
    return weight


def check_price(field: str, value: object) -> int:
    return check_count(field, value, 0, MAX_AMOUNT // MAX_WEIGHT)


CHECKS: dict[str, Check] = {
    "name": check_name,
    "budget_weight": check_budget_weight,
    "prompt_price": or_none(check_price),
    "completion_price": or_none(check_price),
    "description": check_text,
}


async def create_model(connection: AsyncConnection, wanted: NewModel, now_utc: float) -> Model:
    """Raises Taken, Invalid."""
    values: dict[str, Any] = check_all(msgspec.structs.asdict(wanted), CHECKS)
    await begin_change(connection)
    if await find_model(connection, values["name"]) is not None:
        raise Taken("name", values["name"])
    await connection.execute(insert(models).values(**values, created_utc=now_utc, updated_utc=now_utc))
    return await get_model(connection, values["name"])


async def find_model(connection: AsyncConnection, name: str) -> Model | None:
    row = (await connection.execute(select(models).where(models.c.name == clean(name)))).first()
    return None if row is None else model_of(row)


async def get_model(connection: AsyncConnection, name: str) -> Model:
    """Raises NotFound."""
    model = await find_model(connection, name)
    if model is None:
        raise NotFound("model", name)
    return model


async def list_models(
    connection: AsyncConnection, wanted: ModelFilter, behind: str | None = None, limit: int = 100, skip: int = 0
) -> Page[Model]:
    """By name."""
    return await read_page(connection, _selection(wanted), models.c.name, model_of, behind, limit, skip=skip)


async def count_models(connection: AsyncConnection, wanted: ModelFilter) -> int:
    return await count_rows(connection, _selection(wanted))


async def change_model(
    connection: AsyncConnection, name: str, changes: dict[str, object], version: int | None, now_utc: float
) -> Model:
    """Not its name: that is what it is. Raises NotFound, Changed, Invalid."""
    values = check_all(changes, {field: check for field, check in CHECKS.items() if field != "name"})
    await begin_change(connection)
    await update_row(connection, models, "model", (models.c.name, clean(name)), values, version, now_utc)
    return await get_model(connection, name)


async def delete_model(connection: AsyncConnection, name: str, version: int | None, now_utc: float) -> Model:
    """What it was. Raises NotFound, Changed."""
    await begin_change(connection)
    await update_row(connection, models, "model", (models.c.name, clean(name)), {}, version, now_utc)
    model = await get_model(connection, name)
    await connection.execute(delete(models).where(models.c.name == model.name))
    return model


def model_of(row: AnyRow) -> Model:
    return Model(**row._mapping)


def _selection(wanted: ModelFilter) -> Select[Any]:
    if not wanted.search:
        return select(models)
    return select(models).where(contains(wanted.search, models.c.name, models.c.description))
