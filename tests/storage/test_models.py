"""What is known of a model, on both databases."""

import pytest

from mrproxy.storage.database import Database
from mrproxy.storage.models import (
    Model,
    ModelFilter,
    NewModel,
    change_model,
    count_models,
    create_model,
    delete_model,
    find_model,
    list_models,
)
from mrproxy.storage.people.errors import Changed, Invalid, NotFound, Taken
from tests.storage.people.examples import everything

NOW = 5.0
NAME = "meta-llama/Llama-3.1 8B"


async def test_a_model_is_what_was_asked_for(database: Database):
    wanted = NewModel(name=NAME, budget_weight=2.5, prompt_price=150_000, completion_price=600_000, description="d")
    made = await database.transact(create_model, wanted, NOW)
    assert made == Model(
        name=NAME,
        budget_weight=2.5,
        prompt_price=150_000,
        completion_price=600_000,
        description="d",
        created_utc=NOW,
        updated_utc=NOW,
        version=1,
    )
    assert await database.read(find_model, NAME) == made
    assert await database.read(find_model, "no\0ne") is None
    with pytest.raises(Taken):
        await database.transact(create_model, NewModel(name=NAME), NOW)


async def test_changes_name_a_version_and_never_the_name(database: Database):
    await database.transact(create_model, NewModel(name=NAME, prompt_price=1), NOW)
    changed = await database.transact(change_model, NAME, {"prompt_price": None, "budget_weight": 0}, 1, NOW + 1)
    assert (changed.prompt_price, changed.budget_weight, changed.version) == (None, 0.0, 2)
    with pytest.raises(Changed):
        await database.transact(change_model, NAME, {"description": "x"}, 1, NOW)
    with pytest.raises(Invalid, match="name cannot be set"):
        await database.transact(change_model, NAME, {"name": "x"}, None, NOW)
    with pytest.raises(NotFound):
        await database.transact(change_model, "x", {"description": "x"}, None, NOW)


@pytest.mark.parametrize(
    "wanted",
    [
        {"name": ""},
        {"budget_weight": -1.0},
        {"budget_weight": float("inf")},
        {"budget_weight": 1e9},
        {"prompt_price": -1},
        {"completion_price": 2**63},
    ],
    ids=str,
)
async def test_what_cannot_be_is_refused(database: Database, wanted):
    with pytest.raises(Invalid):
        await database.transact(create_model, NewModel(**{"name": "m"} | wanted), NOW)


async def test_a_model_goes_with_the_version_that_was_looked_at(database: Database):
    made = await database.transact(create_model, NewModel(name=NAME), NOW)
    with pytest.raises(Changed):
        await database.transact(delete_model, NAME, 2, NOW)
    gone = await database.transact(delete_model, NAME, 1, NOW)
    assert gone.name == made.name
    assert await database.read(find_model, NAME) is None
    with pytest.raises(NotFound):
        await database.transact(delete_model, NAME, None, NOW)


async def test_lists_are_by_name(database: Database):
    for name in ("c", "a", "b_b"):
        await database.transact(create_model, NewModel(name=name, description=f"about {name}"), NOW)
    found = await everything(database, list_models, ModelFilter(), 2)
    assert [model.name for model in found] == ["a", "b_b", "c"]
    assert [model.name for model in await everything(database, list_models, ModelFilter(search="B_"))] == ["b_b"]
    assert await database.read(count_models, ModelFilter(search="ABOUT")) == 3
