"""Backends that are managed: what the configuration would refuse is refused, and no key comes back."""

import pytest
from sqlalchemy import select

from mrproxy.storage.backends import (
    BackendFields,
    BackendFilter,
    ManagedBackend,
    NewBackend,
    api_key_of,
    change_backend,
    count_backends,
    create_backend,
    delete_backend,
    find_backend,
    find_backend_by_name,
    find_backend_by_uuid,
    list_backends,
)
from mrproxy.storage.database import Database
from mrproxy.storage.people.errors import Changed, Invalid, NotFound, Taken
from mrproxy.storage.schema_control import backends
from mrproxy.storage.secrets import BACKEND_KEYS, SecretBox
from tests.storage.people.examples import everything

NOW = 5.0
BOX = SecretBox(bytes(32), BACKEND_KEYS)
FULL = NewBackend(
    name="gpu1",
    kind="ollama",
    url="http://GPU1:11434/v1/",
    api_key="sk-secret",
    max_concurrent=8,
    models=("llama",),
    aliases={"llama": "llama3.1:8b"},
    num_ctx_of={"llama": 4096},
    capabilities=("chat",),
    gpu_indices=(0, 2),
    priority=-3,
    notes="in the cellar",
    node_id=4,
    gpu_memory_gb=80.0,
    gpu_type="H100",
    health_check_interval_seconds=30.0,
    inference_timeout_seconds=120.0,
)


async def made_of(database: Database, wanted: NewBackend = FULL) -> ManagedBackend:
    return await database.transact(create_backend, wanted, BOX, NOW)


async def changed_to(database: Database, backend: ManagedBackend, version: int | None = None, **changes):
    return await database.transact(change_backend, backend.id, changes, version, BOX, NOW + 1)


async def stored_key(database: Database) -> str | None:
    async def look(connection):
        return (await connection.execute(select(backends.c.api_key_encrypted))).scalar_one()

    return await database.read(look)


async def test_a_backend_is_what_was_asked_for_and_its_key_is_not_shown(database: Database):
    made = await made_of(database)
    for name in BackendFields.__struct_fields__:
        wanted = "http://gpu1:11434" if name == "url" else getattr(FULL, name)
        assert getattr(made, name) == wanted, name
    assert (made.has_api_key, made.version, made.created_utc) == (True, 1, NOW)
    assert "sk-secret" not in repr(made)
    sealed = await stored_key(database)
    assert sealed is not None
    assert "sk-secret" not in sealed
    assert BOX.open(sealed) == "sk-secret"
    assert await database.read(api_key_of, made.id, BOX) == "sk-secret"
    assert await database.read(api_key_of, made.id + 1, BOX) is None
    assert await database.read(find_backend, made.id) == made
    assert await database.read(find_backend_by_name, "gpu1") == made
    assert await database.read(find_backend_by_uuid, made.uuid) == made
    assert await database.read(find_backend_by_uuid, "x") is None


async def test_a_backend_without_a_name_gets_the_one_that_the_configuration_would_give(database: Database):
    made = await made_of(database, NewBackend(kind="vllm", url="http://127.0.0.1:9001/v1"))
    assert (made.name, made.url, made.has_api_key, made.aliases) == ("vllm-9001", "http://127.0.0.1:9001", False, {})


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"kind": "diffusion"}, "kind"),
        ({"url": "ftp://gpu1"}, "url"),
        ({"url": "http://user:pass@gpu1"}, "url"),
        ({"url": "http://gpu1:99999"}, "url"),
        ({"max_concurrent": 0}, "max_concurrent"),
        ({"kind": "vllm", "num_ctx": 4096}, "num_ctx"),
        ({"num_ctx_of": {"a": "b"}}, "num_ctx_of"),
        ({"aliases": {"a": 1}}, "aliases"),
        ({"aliases": ["a"]}, "aliases"),
        ({"gpu_indices": (-1,)}, "gpu_indices"),
        ({"gpu_indices": 3}, "gpu_indices"),
        ({"api_key": "a\r\nX-Admin: 1"}, "api_key"),
        ({"name": "a\0"}, "name"),
        ({"gpu_memory_gb": float("nan")}, "gpu_memory_gb"),
    ],
    ids=str,
)
async def test_what_cannot_be_is_refused(database: Database, wanted, field):
    fields = {"name": "b", "kind": "ollama", "url": "http://gpu1"} | wanted
    with pytest.raises(Invalid) as raised:
        await made_of(database, NewBackend(**fields))
    assert raised.value.field == field
    backend = await made_of(database, NewBackend(name="c", kind="ollama", url="http://gpu2"))
    with pytest.raises(Invalid):
        await changed_to(database, backend, **wanted)


async def test_name_and_url_are_taken_once(database: Database):
    first = await made_of(database)
    with pytest.raises(Taken, match="name"):
        await made_of(database, NewBackend(name="gpu1", kind="vllm", url="http://other"))
    with pytest.raises(Taken, match="url"):
        await made_of(database, NewBackend(name="gpu2", kind="vllm", url="http://gpu1:11434/"))
    second = await made_of(database, NewBackend(name="gpu2", kind="vllm", url="http://gpu2"))
    with pytest.raises(Taken):
        await changed_to(database, second, url="http://gpu1:11434")
    assert (await changed_to(database, first, url="http://gpu1:11434")).version == 2


async def test_a_key_is_replaced_kept_and_removed(database: Database):
    backend = await made_of(database)
    assert (await changed_to(database, backend, notes="moved")).has_api_key
    assert (await changed_to(database, backend, api_key="sk-other")).has_api_key
    sealed = await stored_key(database)
    assert sealed is not None
    assert BOX.open(sealed) == "sk-other"
    for nothing in (None, " "):
        assert not (await changed_to(database, backend, api_key=nothing)).has_api_key


async def test_changes_name_a_version(database: Database):
    backend = await made_of(database)
    disabled = await changed_to(database, backend, 1, is_enabled=False, models=None, gpu_indices=None, aliases={})
    assert (disabled.is_enabled, disabled.models, disabled.gpu_indices, disabled.aliases) == (False, None, None, {})
    with pytest.raises(Changed):
        await changed_to(database, backend, 1, is_enabled=True)
    with pytest.raises(Invalid, match="uuid"):
        await changed_to(database, backend, uuid="x")


async def test_a_backend_goes(database: Database):
    backend = await made_of(database)
    assert (await database.transact(delete_backend, backend.id, 1, NOW)).name == "gpu1"
    with pytest.raises(NotFound):
        await database.transact(delete_backend, backend.id, None, NOW)
    with pytest.raises(NotFound):
        await changed_to(database, backend, notes="")


async def test_lists_are_narrowed_and_counted(database: Database):
    first = await made_of(database)
    second = await made_of(database, NewBackend(name="b_2", kind="vllm", url="http://two", is_enabled=False))

    async def names(**wanted) -> list[str]:
        found = await everything(database, list_backends, BackendFilter(**wanted), 1)
        assert await database.read(count_backends, BackendFilter(**wanted)) == len(found)
        return [each.name for each in found]

    assert await names() == [first.name, second.name]
    assert await names(kind="vllm") == ["b_2"]
    assert await names(is_enabled=True) == ["gpu1"]
    assert await names(search="CELLAR") == ["gpu1"]
    assert await names(search="b_") == ["b_2"]
