"""What the configuration says, read again when it changes."""

import os

from mrproxy.control.api.configured import Configured, nothing_configured
from mrproxy.link.publishing import CONFIGURED_NAME
from mrproxy.link.snapshot import Snapshot, UserSpec, write


def put(path, *names):
    users = tuple(UserSpec(name, "other") for name in names)
    write(path / CONFIGURED_NAME, Snapshot(generation=1, created_utc=0.0, users=users))


def test_a_new_configuration_is_seen_and_a_broken_one_is_not(tmp_path):
    configured = Configured(tmp_path)
    assert configured() == nothing_configured()
    put(tmp_path, "ada")
    assert [user.name for user in configured().users] == ["ada"]
    put(tmp_path, "bob")
    os.utime(tmp_path / CONFIGURED_NAME, ns=(1, 1))
    assert [user.name for user in configured().users] == ["bob"]
    (tmp_path / CONFIGURED_NAME).write_bytes(b"{")
    assert [user.name for user in configured().users] == ["bob"]
