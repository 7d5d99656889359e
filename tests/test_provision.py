"""Shell. The data directory and the compilation of snapshots."""

import fcntl
from dataclasses import replace
from pathlib import Path

import pytest

from mrproxy.config import Backend, ConfigError, Group, Key, Settings, User, load
from mrproxy.identity.digest import digest_key
from mrproxy.link import snapshot as snapshots
from mrproxy.link.merging import merge
from mrproxy.link.snapshot import Limits, Snapshot
from mrproxy.provision import (
    DataDirectory,
    NewKey,
    StoredKey,
    compile_snapshot,
    create_key,
    first_key,
    open_data_directory,
    read_keys,
    read_secret,
    revoke_key,
    supervisor_pid,
    write_keys,
)

SECRET = b"s" * 32
ADMINISTERING = ("inference", "admin")


@pytest.fixture
def directory(tmp_path: Path) -> DataDirectory:
    return open_data_directory(str(tmp_path / "data"))


def clock() -> float:
    return 1000.0


def test_the_data_directory_and_its_secrets_are_private(directory):
    secret = read_secret(directory)
    create_key(directory, NewKey(name="a"), clock)
    assert read_secret(directory) == secret
    assert len(secret) == 32
    assert directory.root.stat().st_mode & 0o777 == 0o700
    assert directory.secret.stat().st_mode & 0o777 == 0o600
    assert directory.keys.stat().st_mode & 0o777 == 0o600


def test_a_damaged_secret_is_not_replaced_silently(directory):
    directory.secret.write_bytes(b"short")
    with pytest.raises(ConfigError, match="5 bytes instead of 32"):
        read_secret(directory)


def test_a_data_directory_that_cannot_be_made_is_a_config_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="data_dir"):
        open_data_directory(str(tmp_path / "file" / "below"))


def test_the_first_start_makes_one_key_and_the_second_none(directory):
    key = first_key(Settings(), directory, clock)
    assert key is not None
    assert key.startswith("mr_")
    assert key not in directory.keys.read_text()
    (stored,) = read_keys(directory) or ()
    assert stored.digest == digest_key(read_secret(directory), key.encode()).hex()
    assert (stored.user, stored.group, stored.created_utc) == ("admin", "admin", 1000.0)
    assert stored.scopes == ADMINISTERING
    assert first_key(Settings(), directory, clock) is None


def test_no_first_key_where_keys_are_configured_or_were_all_revoked(directory):
    assert first_key(Settings(bootstrap_api_key="x"), directory, clock) is None
    assert first_key(Settings(keys=(Key(key="x"),)), directory, clock) is None
    write_keys(directory, ())
    assert first_key(Settings(), directory, clock) is None


def test_keys_are_revoked_by_id_or_unambiguous_name(directory):
    _, one = create_key(directory, NewKey(name="twin"), clock)
    create_key(directory, NewKey(name="twin"), clock)
    create_key(directory, NewKey(name="single"), clock)
    with pytest.raises(ConfigError, match="2 keys are called 'twin'"):
        revoke_key(directory, "twin")
    with pytest.raises(ConfigError, match="no key is called 'none'"):
        revoke_key(directory, "none")
    assert revoke_key(directory, one.id) == one
    assert revoke_key(directory, "single").name == "single"
    assert [each.name for each in read_keys(directory) or ()] == ["twin"]


def test_a_group_without_a_user_is_refused(directory):
    with pytest.raises(ConfigError, match="group belongs to a user"):
        create_key(directory, NewKey(name="a", group="staff"), clock)


@pytest.mark.parametrize("text", ["{", '{"format":9}', '{"keys":[{}]}'])
def test_a_damaged_key_file_is_a_config_error(directory, text):
    directory.keys.write_text(text)
    with pytest.raises(ConfigError, match=r"keys\.json"):
        read_keys(directory)


def served(settings: Settings, *stored: StoredKey) -> Snapshot:
    """What workers get of it where the database has nothing to say."""
    return merge(compile_snapshot(settings, SECRET, stored), None)


def test_a_compiled_snapshot_joins_users_groups_and_keys():
    settings = Settings(
        groups={"lab": Group(weight=5, tokens_per_minute=100, token_budget=7)},
        users=(User(name="ada", group="lab", tokens_per_minute=200), User(name="bob", weight=9)),
        keys=(
            Key(key="k1", name="laptop", user="ada", models=("m",), expires="1970-01-01T00:01:00Z"),
            Key(digest="ab" * 16, requests_per_minute=3),
            Key(key="k3", user="carol", group="student"),
        ),
    )
    made = served(settings)
    assert {each.name: each.weight for each in made.groups} == {
        "admin": 10, "faculty": 3, "staff": 2, "student": 1, "other": 1, "lab": 5
    }  # fmt: skip
    users = {each.name: each for each in made.users}
    assert users["ada"].limits == Limits(tokens_per_minute=200, token_budget=7)
    assert (users["bob"].group, users["bob"].weight) == ("other", 9)
    assert users["carol"].group == "student"
    laptop, digested, carol = made.keys
    assert laptop.digest == digest_key(SECRET, b"k1").hex()
    assert (laptop.id, laptop.models, laptop.expires_utc) == (laptop.digest[:12], ("m",), 60.0)
    assert (digested.name, digested.user, digested.limits) == ("abababababab", None, Limits(requests_per_minute=3))
    assert carol.name == "carol"


def test_the_bootstrap_key_belongs_to_an_administrator_and_stays_out_of_the_snapshot():
    made = served(Settings(bootstrap_api_key="hush"))
    assert b"hush" not in snapshots.encode(made)
    assert [(each.name, each.user, each.scopes) for each in made.keys] == [("bootstrap", "admin", ADMINISTERING)]
    assert [(each.name, each.group) for each in made.users] == [("admin", "admin")]


def test_the_same_key_twice_is_refused():
    with pytest.raises(ConfigError, match="keys 'a' and 'bootstrap' are the same key"):
        compile_snapshot(Settings(bootstrap_api_key="x", keys=(Key(key="x", name="a"),)), SECRET, ())


def test_stored_keys_keep_their_user_group_and_limits(directory):
    wanted = NewKey(name="n", user="eve", group="staff", models=("m",), expires_utc=9.0, limits=Limits(token_budget=1))
    _, stored = create_key(directory, wanted, clock)
    made = served(Settings(), stored)
    assert made.keys[0].limits == Limits(token_budget=1)
    assert made.keys[0].expires_utc == 9.0
    assert [(each.name, each.group) for each in made.users] == [("eve", "staff")]


def test_keys_of_both_sources_keep_their_scopes_and_networks(directory):
    reach = {"scopes": ("read", "own"), "addresses": ("10.0.0.0/8",)}
    create_key(directory, NewKey(name="stored", **reach), clock)
    create_key(directory, NewKey(name="plain"), clock)
    settings = Settings(keys=(Key(key="k", name="configured", **reach), Key(key="l", name="simple")))
    made = {each.name: (each.scopes, each.addresses) for each in served(settings, *(read_keys(directory) or ())).keys}
    bound, free = (("read", "own"), ("10.0.0.0/8",)), (("inference",), None)
    assert made == {"configured": bound, "stored": bound, "simple": free, "plain": free}


def test_users_of_a_group_that_is_gone_fall_back_to_other(directory):
    _, stored = create_key(directory, NewKey(name="n", user="eve", group="gone"), clock)
    assert served(Settings(), stored).users[0].group == "other"


def test_backends_get_slots_by_kind():
    settings = Settings(
        default_max_concurrent=32,
        backends=(
            Backend(kind="vllm", url="http://a", name="v"),
            Backend(kind="ollama", url="http://b", name="o"),
            Backend(kind="openai", url="http://c", name="c", max_concurrent=2, api_key="k", aliases={"p": "q"}),
            Backend(kind="auto", url="http://d", name="d"),
        ),
    )
    made = served(settings).backends
    assert [(each.name, each.max_concurrent) for each in made] == [("v", 32), ("o", 4), ("c", 2), ("d", 32)]
    assert (made[2].api_key, made[2].aliases) == ("k", {"p": "q"})


def test_the_snapshots_settings_are_the_scalars():
    settings, _ = load(None, {}, {"port": 9, "backends": ("vllm=http://a",), "data_dir": "here"})
    expected = replace(Settings(), port=9, data_dir=str(Path("here").absolute()))
    assert served(settings).settings == expected


def test_only_a_held_lock_makes_a_pid_file_true(directory):
    assert supervisor_pid(directory) is None
    directory.pid_file.write_text("77\n")
    directory.lock.write_text("")
    assert supervisor_pid(directory) is None
    with open(directory.lock, "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert supervisor_pid(directory) == 77
        directory.pid_file.write_text("")
        assert supervisor_pid(directory) is None
