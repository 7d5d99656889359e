"""Actors and what they may."""

from mrproxy.control.api.actor import Actor, ActorKind, anonymous, owner
from mrproxy.control.permissions import ALL, GRANTS, Permission, Role


def test_the_owner_of_the_data_directory_may_everything_and_is_no_user():
    assert owner("r").permissions == ALL
    assert (owner("r").user_id, owner("r").kind) == (None, ActorKind.LOCAL)


def test_nobody_in_particular_may_what_everybody_may():
    assert anonymous("10.0.0.1", "r").permissions == GRANTS[Role.ANONYMOUS]
    assert not anonymous("10.0.0.1", "r").is_known


def test_a_key_may_what_its_user_and_its_scopes_allow():
    key = Actor(kind=ActorKind.KEY, roles=frozenset({Role.ADMIN}), scopes=("endpoints.read",))
    assert Permission.BACKENDS_READ in key.permissions
    assert Permission.BACKENDS_WRITE not in key.permissions
    assert key.is_known
