"""What is shown of an actor and of a session."""

from datetime import UTC, datetime

import msgspec

from mrproxy.control.api.actor import Actor, ActorKind, owner
from mrproxy.control.permissions import Role
from mrproxy.control.signin.session_shapes import InvitationAccepted, me_of, new_user, session_shown
from tests.control.signin.examples import a_session, a_user


def test_a_user_sees_what_it_may_and_no_secret() -> None:
    actor = Actor(kind=ActorKind.USER, name="Ada", user_id=1, roles=frozenset({Role.MEMBER}), session="a" * 64)
    me = me_of(actor, a_user("Ada", email="ada@example.edu"), "proof", 700.0)
    assert (me.kind, me.id, me.roles, me.csrf_token) == ("user", "uuid of Ada", ["member"], "proof")
    assert "own-password" in me.permissions
    assert me.expires_utc == datetime.fromtimestamp(700, UTC)
    assert "hash" not in msgspec.json.encode(me).decode()


def test_the_owner_is_no_user() -> None:
    me = me_of(owner("r"), None)
    assert (me.kind, me.id, me.group, me.csrf_token) == ("local", None, None, None)


def test_ones_own_session_is_marked() -> None:
    actor = Actor(kind=ActorKind.USER, session="a" * 64)
    assert session_shown(a_session(), actor).is_current
    assert not session_shown(a_session("b" * 64), actor).is_current


def test_who_was_invited_says_nothing_of_groups() -> None:
    wanted = InvitationAccepted(code="c", name="Grace", password="p", department="Navy")
    user = new_user(wanted)
    assert (user.name, user.department, user.group_id, user.password_hash) == ("Grace", "Navy", 0, None)
