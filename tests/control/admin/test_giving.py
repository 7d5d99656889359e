"""Whatever is written about keys, people, groups and invitations, in all three APIs, by a key that may not everything.

A new route that writes such things fails `test_every_route_is_tried` until it has a line in ATTEMPTS or TAKES_AWAY.
"""

from pathlib import Path
from typing import Any

import pytest

from mrproxy.control.admin.giving import RESERVED, TOO_MUCH, check_reserved, check_scopes_given
from mrproxy.control.admin.table import admin_api
from mrproxy.control.api.actor import Actor, ActorKind, owner
from mrproxy.control.api.endpoint import Endpoint
from mrproxy.control.api.idempotency import carry_out
from mrproxy.control.api.problem import Problem
from mrproxy.control.llmlb.table import llmlb_apis
from mrproxy.control.mindrouter.table import mindrouter_apis
from mrproxy.control.permissions import ALL, ASKING, SCOPES, Permission, Role
from mrproxy.link.scopes import INFERENCE_SCOPES
from mrproxy.storage.people.groups import create_group, find_group_by_name
from mrproxy.storage.people.keys import create_key
from mrproxy.storage.people.sessions import create_session
from mrproxy.storage.people.users import change_user
from mrproxy.storage.people.values import Group, NewGroup, NewKey, NewSession
from tests.control.admin.conftest import Desk
from tests.control.api.conftest import NOW
from tests.control.test_assembly import offer_of, routes_of

P = Permission
WRITING = {
    P.USERS_WRITE,
    P.GROUPS_WRITE,
    P.KEYS_WRITE,
    P.INVITATIONS_WRITE,
    P.SESSIONS_WRITE,
    P.OWN_KEYS_WRITE,
}
LESS = ("users.manage", "api_keys.manage", "invitations.manage", "the rest")
PASSWORD = "correct horse battery"
OURS, THEIRS, LLMLB = "/admin/api/v1", "/api/admin", "/v0"
REFUSALS = (RESERVED, TOO_MUCH, "A key cannot be given what you may not do yourself with what you signed in with.")

# Method and path as they are served; the body; which group is meant, where it is not that of administrators.
ATTEMPTS: list[tuple[str, str, Any, str]] = [
    ("POST", f"{OURS}/users", {"name": "new", "group": "admin"}, ""),
    ("POST", f"{OURS}/users", {"name": "new", "group": "auditor"}, ""),
    ("PATCH", f"{OURS}/users/{{user}}", {"password": PASSWORD}, ""),
    ("PATCH", f"{OURS}/users/{{user}}", {"email": "mine@example.edu"}, ""),
    ("PATCH", f"{OURS}/users/{{user}}", {"group": "other"}, ""),
    ("PATCH", f"{OURS}/users/{{member}}", {"group": "admin"}, ""),
    ("PATCH", f"{OURS}/users/{{member}}", {"group": "readers"}, ""),
    ("DELETE", f"{OURS}/users/{{user}}", None, ""),
    ("POST", f"{OURS}/users/{{user}}/unlock", None, ""),
    ("DELETE", f"{OURS}/users/{{user}}/sessions", None, ""),
    ("DELETE", f"{OURS}/users/{{user}}/sessions/{{session}}", None, ""),
    ("POST", f"{OURS}/groups", {"name": "new", "is_admin": True}, ""),
    ("POST", f"{OURS}/groups", {"name": "new", "is_auditor": True}, ""),
    ("PATCH", f"{OURS}/groups/{{group:path}}", {"weight": 3}, ""),
    ("PATCH", f"{OURS}/groups/{{group:path}}", {"is_admin": False}, ""),
    ("PATCH", f"{OURS}/groups/{{group:path}}", {"is_admin": True}, "other"),
    ("PATCH", f"{OURS}/groups/{{group:path}}", {"is_auditor": True}, "other"),
    ("DELETE", f"{OURS}/groups/{{group:path}}", None, ""),
    ("POST", f"{OURS}/keys", {"name": "new", "user": "boss", "scopes": ["inference", "admin"]}, ""),
    ("POST", f"{OURS}/keys", {"name": "new", "user": "boss", "scopes": ["own"]}, ""),
    ("POST", f"{OURS}/keys", {"name": "new", "user": "bob", "scopes": ["admin"]}, ""),
    ("POST", f"{OURS}/keys", {"name": "new", "group": "admin", "scopes": ["logs.read"]}, ""),
    ("PATCH", f"{OURS}/keys/{{key}}", {"scopes": ["read"]}, ""),
    ("PATCH", f"{OURS}/keys/{{key}}", {"expires_utc": None}, ""),
    ("POST", f"{OURS}/keys/{{key}}/rotate", {}, ""),
    ("POST", f"{OURS}/me/keys", {"name": "new", "scopes": ["admin"]}, ""),
    ("POST", f"{OURS}/me/keys/{{own_key}}/rotate", {}, ""),
    ("POST", f"{OURS}/invitations", {"group": "admin"}, ""),
    ("POST", f"{OURS}/invitations", {"group": "readers"}, ""),
    (
        "POST",
        f"{THEIRS}/users",
        {"username": "new", "email": "new@example.edu", "password": PASSWORD, "group_id": "{group_id}"},
        "",
    ),
    ("PATCH", f"{THEIRS}/users/{{user_id}}", {"is_active": False}, ""),
    ("PATCH", f"{THEIRS}/users/{{member_id}}", {"group_id": "{group_id}"}, ""),
    ("DELETE", f"{THEIRS}/users/{{user_id}}", None, ""),
    ("POST", f"{THEIRS}/users/{{user_id}}/reset-password", {"new_password": PASSWORD}, ""),
    ("POST", f"{THEIRS}/users/{{user_id}}/api-keys", {"name": "new"}, ""),
    ("POST", f"{THEIRS}/users/{{member_id}}/api-keys", {"name": "new", "scopes": ["read"]}, ""),
    ("POST", f"{THEIRS}/groups", {"name": "new", "display_name": "New", "is_admin": True}, ""),
    ("PATCH", f"{THEIRS}/groups/{{group_id}}", {"scheduler_weight": 3}, ""),
    ("PATCH", f"{THEIRS}/groups/{{group_id}}", {"is_auditor": True}, "other"),
    ("DELETE", f"{THEIRS}/groups/{{group_id}}", None, ""),
    ("POST", f"{LLMLB}/users", {"username": "new", "role": "admin"}, ""),
    ("PUT", f"{LLMLB}/users/{{user}}", {"password": PASSWORD}, ""),
    ("PUT", f"{LLMLB}/users/{{user}}", {"role": "viewer"}, ""),
    ("PUT", f"{LLMLB}/users/{{member}}", {"role": "admin"}, ""),
    ("DELETE", f"{LLMLB}/users/{{user}}", None, ""),
    ("POST", f"{LLMLB}/api-keys", {"name": "new", "permissions": ["endpoints.manage"]}, ""),
    ("PUT", f"{LLMLB}/api-keys/{{key}}", {"expires_at": "2090-01-01T00:00:00Z"}, ""),
    ("POST", f"{LLMLB}/me/api-keys", {"name": "new", "permissions": ["admin"]}, ""),
    ("PUT", f"{LLMLB}/me/api-keys/{{own_key}}", {"expires_at": "2090-01-01T00:00:00Z"}, ""),
]

# What these do makes nobody mightier; llmlb's invitations are all for viewers.
TAKES_AWAY = {
    ("POST", f"{OURS}/keys/{{key}}/revoke"),
    ("DELETE", f"{OURS}/keys/{{key}}"),
    ("POST", f"{OURS}/me/keys/{{key}}/revoke"),
    ("POST", f"{OURS}/invitations/{{invitation}}/revoke"),
    ("POST", f"{THEIRS}/api-keys/{{key_id}}/revoke"),
    ("DELETE", f"{THEIRS}/api-keys/{{key_id}}"),
    ("DELETE", f"{LLMLB}/api-keys/{{key}}"),
    ("DELETE", f"{LLMLB}/me/api-keys/{{key}}"),
    ("POST", f"{LLMLB}/invitations"),
    ("DELETE", f"{LLMLB}/invitations/{{invitation}}"),
}
# One place in a path, by other names when somebody or something else is meant.
MEANT = {"{member}": "{user}", "{member_id}": "{user_id}", "{own_key}": "{key}"}


@pytest.fixture
async def names(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What stands for the parts of paths. Everything there is one of, of administrators but for what is a member's."""
    monkeypatch.setitem(SCOPES, "the rest", frozenset({P.GROUPS_WRITE, P.SESSIONS_WRITE}))
    apis = (admin_api(), *mindrouter_apis(lambda: NOW), *llmlb_apis())
    desk.client = desk.house.serve(*apis, carry_out=carry_out)
    root, boss = await desk.add_user("root", "admin"), await desk.add_user("boss", "admin")
    bob = await desk.add_user("bob")

    async def fill(connection: Any) -> dict[str, str]:
        await change_user(connection, boss.id, {"password_hash": "x"}, None, NOW)
        vacant = await create_group(connection, NewGroup(name="vacant", is_admin=True), NOW)
        await create_group(connection, NewGroup(name="readers", is_auditor=True), NOW)
        other = await find_group_by_name(connection, "other")
        for_all: Any = {"name": "k", "prefix": "mr_", "scopes": ("admin",), "expires_utc": NOW + 9}
        own = await create_key(connection, NewKey(digest="a" * 32, user_id=root.id, **for_all), NOW)
        key = await create_key(connection, NewKey(digest="b" * 32, user_id=boss.id, **for_all), NOW)
        session = NewSession(id="s-1", user_id=boss.id, kind="cookie", expires_utc=NOW + 9)
        await create_session(connection, session, NOW)
        assert other is not None
        return {
            "{user}": "boss",
            "{member}": "bob",
            "{user_id}": str(boss.id),
            "{member_id}": str(bob.id),
            "{group:path}": "vacant",
            "{group_id}": str(vacant.id),
            "other": str(other.id),
            "{key}": key.key_id,
            "{own_key}": own.key_id,
            "{session}": "s-1",
            "root": str(root.id),
        }

    return await desk.house.plane.store.transact(fill)  # type: ignore[union-attr,no-any-return]


def be(desk: Desk, names: dict[str, str], scopes: tuple[str, ...] | None) -> None:
    """An administrator; with `scopes`, by a key."""
    desk.house.actor = Actor(
        kind=ActorKind.USER if scopes is None else ActorKind.KEY,
        name="root",
        user_id=int(names["root"]),
        roles=frozenset({Role.ADMIN, Role.MEMBER}),
        scopes=scopes,
    )


async def ask(desk: Desk, names: dict[str, str], method: str, path: str, body: Any, group: str = "") -> tuple[int, str]:
    """Status and body."""
    meant = names | ({"{group:path}": group, "{group_id}": names[group]} if group else {})
    for part, value in meant.items():
        path = path.replace(part, value) if part.startswith("{") else path
    if isinstance(body, dict) and "group_id" in body:
        body = body | {"group_id": int(meant["{group_id}"])}
    options: dict[str, Any] = {} if body is None else {"json": body}
    response = await desk.client.open(path, method=method, **options)
    return response.status_code, (await response.get_data()).decode()  # type: ignore[union-attr]


def test_every_route_is_tried(tmp_path: Path) -> None:
    first: dict[Endpoint, tuple[str, str]] = {}  # llmlb's endpoints are served below two prefixes
    for route, endpoint in routes_of(offer_of(tmp_path)).items():
        first.setdefault(endpoint, route)
    served = {route for endpoint, route in first.items() if endpoint.permission in WRITING}
    tried = set(TAKES_AWAY)
    for method, path, _, _ in ATTEMPTS:
        for meant, part in MEANT.items():
            path = path.replace(meant, part)
        tried.add((method, path))
    assert served - tried == set(), "say in this file what a key that may less must not do there"
    assert tried - served == set(), "no such route is served"


@pytest.mark.parametrize(("method", "path", "body", "group"), ATTEMPTS)
async def test_a_key_that_may_less_gains_nothing(
    desk: Desk, names: dict[str, str], method: str, path: str, body: Any, group: str
) -> None:
    be(desk, names, LESS)
    status, said = await ask(desk, names, method, path, body, group)
    assert status == 403, said
    assert any(sentence in said for sentence in REFUSALS), said
    assert await desk.entries() == []
    be(desk, names, None)
    status, said = await ask(desk, names, method, path, body, group)
    assert status < 300, said


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", f"{OURS}/users", {"name": "new", "group": "other", "password": PASSWORD}),
        ("PATCH", f"{OURS}/users/{{member}}", {"group": "staff"}),
        ("POST", f"{OURS}/users/{{member}}/unlock", None),
        ("DELETE", f"{OURS}/users/{{member}}", None),
        ("POST", f"{OURS}/keys", {"name": "new", "user": "bob"}),
        ("POST", f"{OURS}/keys", {"name": "new", "user": "boss", "scopes": ["inference", "api_keys.manage"]}),
        ("PATCH", f"{OURS}/keys/{{key}}", {"scopes": ["inference"]}),
        ("POST", f"{OURS}/keys/{{key}}/revoke", None),
        ("POST", f"{OURS}/invitations", {"group": "other"}),
        ("POST", f"{OURS}/groups", {"name": "new"}),
        ("PATCH", f"{THEIRS}/users/{{member_id}}", {"full_name": "Bob"}),
        ("POST", f"{THEIRS}/users/{{member_id}}/api-keys", {"name": "new"}),
        ("POST", f"{THEIRS}/users/{{user_id}}/api-keys", {"name": "new", "scopes": ["inference"]}),
        ("PUT", "/v0/users/{member}", {"password": PASSWORD}),
        ("POST", "/v0/api-keys", {"name": "new"}),
        ("POST", "/v0/invitations", {}),
    ],
)
async def test_what_is_a_members_can_be_managed(
    desk: Desk, names: dict[str, str], method: str, path: str, body: Any
) -> None:
    be(desk, names, LESS)
    status, said = await ask(desk, names, method, path, body)
    assert status < 300, said


def actor_with(*scopes: str) -> Actor:
    return Actor(kind=ActorKind.KEY, roles=frozenset({Role.ADMIN, Role.MEMBER}), scopes=scopes)


@pytest.mark.parametrize("scope", SCOPES)
def test_a_scope_gives_itself_and_asking(scope: str) -> None:
    for other in SCOPES:
        if SCOPES[other] <= SCOPES[scope] | ASKING:
            check_scopes_given(actor_with(scope), (scope, other))
        else:
            with pytest.raises(Problem, match="may no more than it"):
                check_scopes_given(actor_with(scope), (scope, other))
    check_scopes_given(actor_with(scope), INFERENCE_SCOPES)


@pytest.mark.parametrize("actor", [owner("r"), actor_with("admin"), actor_with("users.manage", "admin:*")])
def test_who_may_everything_gives_everything(actor: Actor) -> None:
    assert actor.permissions == ALL
    check_scopes_given(actor, SCOPES)


def test_a_group_is_reserved_for_its_flags_and_for_its_name() -> None:
    plain: Any = {"id": 1, "created_utc": NOW, "updated_utc": NOW, "version": 1}
    check_reserved(actor_with("users.manage"), Group(name="staff", **plain))
    more: Any
    for more in ({"name": "staff", "is_admin": True}, {"name": "staff", "is_auditor": True}, {"name": "admin"}):
        with pytest.raises(Problem, match="only by who may everything"):
            check_reserved(actor_with("users.manage"), Group(**more, **plain))
        check_reserved(actor_with("admin"), Group(**more, **plain))
