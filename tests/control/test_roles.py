"""Every route is asked as every role and with a key of every scope; what is expected stands here, and only here.

A route that is served and not listed fails `test_every_route_is_listed`. A new one gets a line below: its method and
path, and the word for who may. Nothing is carried out: a request that is let in ends before the handler.
"""

from pathlib import Path

import pytest

from mrproxy.control.api.actor import Actor, ActorKind, anonymous, owner
from mrproxy.control.api.endpoint import Answer
from mrproxy.control.offer import Offer
from mrproxy.control.permissions import SCOPES, Role
from tests.control.api.conftest import make_house
from tests.control.test_assembly import offer_of, routes_of

# Who may (roles), and with which scopes an administrator's key may; `admin` and `admin:*` always.
EVERYBODY = ("anonymous member auditor admin", set(SCOPES))
MEMBERS = ("member auditor admin", {"own"})
READ_OWN = ("member auditor admin", {"own", "read"})
READ_USAGE = ("member auditor admin", READ_OWN[1] | {"inference", "api", "api:inference", "metrics.read"})
READ_RECORDS = ("member auditor admin", READ_OWN[1] | {"logs.read"})
MAKE_OWN_KEYS = ("member auditor admin", {"own", "api_keys.manage"})
READ_OWN_KEYS = ("member auditor admin", {"own", "read", "api_keys.manage"})
READ = ("auditor admin", {"read"})
READ_USERS = ("auditor admin", {"read", "users.manage"})
READ_GROUPS = READ_USERS
READ_KEYS = ("auditor admin", {"read", "api_keys.manage"})
READ_INVITATIONS = ("auditor admin", {"read", "invitations.manage"})
READ_BACKENDS = ("auditor admin", {"read", "endpoints.read", "endpoints"})
READ_MODELS = ("auditor admin", {"read", "models.manage", "registry.read"})
READ_LOGS = ("auditor admin", {"read", "logs.read"})
READ_QUEUE = ("auditor admin", {"read", "metrics.read"})
ADMINISTER = ("admin", set[str]())
CHANGE_USERS = ("admin", {"users.manage"})
CHANGE_KEYS = ("admin", {"api_keys.manage"})
CHANGE_INVITATIONS = ("admin", {"invitations.manage"})
CHANGE_BACKENDS = ("admin", {"endpoints.manage", "endpoints", "node:register", "runtime"})
CHANGE_MODELS = ("admin", {"models.manage"})

Expected = tuple[str, set[str]]

ADMIN: dict[str, Expected] = {
    "GET /status": EVERYBODY,
    "GET /queue": READ_QUEUE,
    "GET /settings": READ,
    "GET /logs": READ_LOGS,
    "POST /session": EVERYBODY,
    "GET /session": READ_OWN,
    "DELETE /session": EVERYBODY,
    "GET /session/providers": EVERYBODY,
    "POST /invitations/accept": EVERYBODY,
    "GET /me": READ_OWN,
    "PATCH /me": MEMBERS,
    "POST /me/password": MEMBERS,
    "GET /me/sessions": MEMBERS,
    "DELETE /me/sessions": MEMBERS,
    "DELETE /me/sessions/{session}": MEMBERS,
    "GET /me/keys": READ_OWN_KEYS,
    "POST /me/keys": MAKE_OWN_KEYS,
    "GET /me/keys/{key}": READ_OWN_KEYS,
    "POST /me/keys/{key}/revoke": MAKE_OWN_KEYS,
    "POST /me/keys/{key}/rotate": MAKE_OWN_KEYS,
    "GET /me/quota-requests": READ_OWN,
    "POST /me/quota-requests": MEMBERS,
    "GET /users": READ_USERS,
    "POST /users": CHANGE_USERS,
    "GET /users/{user}": READ_USERS,
    "PATCH /users/{user}": CHANGE_USERS,
    "DELETE /users/{user}": CHANGE_USERS,
    "POST /users/{user}/unlock": CHANGE_USERS,
    "GET /users/{user}/sessions": READ,
    "DELETE /users/{user}/sessions": ADMINISTER,
    "DELETE /users/{user}/sessions/{session}": ADMINISTER,
    "GET /groups": READ_GROUPS,
    "POST /groups": ADMINISTER,
    "GET /groups/{group:path}": READ_GROUPS,
    "PATCH /groups/{group:path}": ADMINISTER,
    "DELETE /groups/{group:path}": ADMINISTER,
    "GET /keys": READ_KEYS,
    "POST /keys": CHANGE_KEYS,
    "GET /keys/{key}": READ_KEYS,
    "PATCH /keys/{key}": CHANGE_KEYS,
    "POST /keys/{key}/revoke": CHANGE_KEYS,
    "POST /keys/{key}/rotate": CHANGE_KEYS,
    "DELETE /keys/{key}": CHANGE_KEYS,
    "GET /invitations": READ_INVITATIONS,
    "POST /invitations": CHANGE_INVITATIONS,
    "GET /invitations/{invitation}": READ_INVITATIONS,
    "POST /invitations/{invitation}/revoke": CHANGE_INVITATIONS,
    "GET /quota-requests": READ,
    "GET /quota-requests/{request}": READ,
    "POST /quota-requests/{request}/review": ADMINISTER,
    "GET /backends": READ_BACKENDS,
    "POST /backends": CHANGE_BACKENDS,
    "GET /backends/{backend}": READ_BACKENDS,
    "PATCH /backends/{backend}": CHANGE_BACKENDS,
    "DELETE /backends/{backend}": CHANGE_BACKENDS,
    "POST /backends/{backend}/enable": CHANGE_BACKENDS,
    "POST /backends/{backend}/disable": CHANGE_BACKENDS,
    "POST /backends/{backend}/drain": CHANGE_BACKENDS,
    "POST /backends/{backend}/undrain": CHANGE_BACKENDS,
    "GET /models": READ_MODELS,
    "POST /models": CHANGE_MODELS,
    "GET /models/{model:path}": READ_MODELS,
    "PATCH /models/{model:path}": CHANGE_MODELS,
    "DELETE /models/{model:path}": CHANGE_MODELS,
    "GET /audit": READ_LOGS,
    "GET /audit/verify": READ_LOGS,
    "GET /audit/{entry}": READ_LOGS,
    "GET /records": READ_RECORDS,
    "GET /records/export": READ_RECORDS,
    "GET /records/{request_id:path}": READ_RECORDS,
    "GET /usage": READ_USAGE,
}

AUTH: dict[str, Expected] = {
    "POST /login": EVERYBODY,
    "POST /logout": EVERYBODY,
    "GET /me": READ_OWN,
    "PUT /change-password": MEMBERS,
    "POST /register": EVERYBODY,
}

MINDROUTER: dict[str, Expected] = {
    "POST /backends/register": CHANGE_BACKENDS,
    "GET /backends": READ_BACKENDS,
    "PATCH /backends/{backend_id}": CHANGE_BACKENDS,
    "POST /backends/{backend_id}/enable": CHANGE_BACKENDS,
    "POST /backends/{backend_id}/disable": CHANGE_BACKENDS,
    "POST /backends/{backend_id}/refresh": CHANGE_BACKENDS,
    "POST /backends/{backend_id}/ollama/pull": CHANGE_BACKENDS,
    "GET /backends/{backend_id}/ollama/pull/{job_id}": READ_BACKENDS,
    "POST /backends/{backend_id}/ollama/delete": CHANGE_BACKENDS,
    "POST /nodes/register": CHANGE_BACKENDS,
    "GET /nodes": READ_BACKENDS,
    "PATCH /nodes/{node_id}": CHANGE_BACKENDS,
    "DELETE /nodes/{node_id}": CHANGE_BACKENDS,
    "POST /nodes/{node_id}/refresh": CHANGE_BACKENDS,
    "GET /users": READ_USERS,
    "POST /users": CHANGE_USERS,
    "GET /users/{user_id}": READ_USERS,
    "PATCH /users/{user_id}": CHANGE_USERS,
    "DELETE /users/{user_id}": CHANGE_USERS,
    "POST /users/{user_id}/reset-password": CHANGE_USERS,
    "POST /users/{user_id}/api-keys": CHANGE_KEYS,
    "GET /api-keys": READ_KEYS,
    "POST /api-keys/{key_id}/revoke": CHANGE_KEYS,
    "DELETE /api-keys/{key_id}": CHANGE_KEYS,
    "GET /groups": READ_GROUPS,
    "POST /groups": ADMINISTER,
    "PATCH /groups/{group_id}": ADMINISTER,
    "DELETE /groups/{group_id}": ADMINISTER,
    "GET /quota-requests": READ,
    "POST /quota-requests/{request_id}/review": ADMINISTER,
    "GET /queue": READ_QUEUE,
    "GET /queue/monitor": READ_QUEUE,
    "GET /audit/search": READ_LOGS,
    "GET /audit/{request_id}": READ_LOGS,
    "GET /top-users": READ_QUEUE,
    "GET /conversations/export": READ_LOGS,
}

CLUSTER: dict[str, Expected] = {
    "GET /throughput": EVERYBODY,
    "GET /total-tokens": EVERYBODY,
    "GET /trends": EVERYBODY,
}

LLMLB: dict[str, Expected] = {
    "GET /users": READ_USERS,
    "POST /users": CHANGE_USERS,
    "PUT /users/{user}": CHANGE_USERS,
    "DELETE /users/{user}": CHANGE_USERS,
    "GET /api-keys": READ_KEYS,
    "POST /api-keys": CHANGE_KEYS,
    "PUT /api-keys/{key}": CHANGE_KEYS,
    "DELETE /api-keys/{key}": CHANGE_KEYS,
    "GET /me/api-keys": READ_OWN_KEYS,
    "POST /me/api-keys": MAKE_OWN_KEYS,
    "PUT /me/api-keys/{key}": MAKE_OWN_KEYS,
    "DELETE /me/api-keys/{key}": MAKE_OWN_KEYS,
    "GET /invitations": READ_INVITATIONS,
    "POST /invitations": CHANGE_INVITATIONS,
    "DELETE /invitations/{invitation}": CHANGE_INVITATIONS,
    "GET /endpoints": READ_BACKENDS,
    "POST /endpoints": CHANGE_BACKENDS,
    "GET /endpoints/{id}": READ_BACKENDS,
    "PUT /endpoints/{id}": CHANGE_BACKENDS,
    "DELETE /endpoints/{id}": CHANGE_BACKENDS,
    "POST /endpoints/{id}/test": CHANGE_BACKENDS,
    "POST /endpoints/{id}/sync": CHANGE_BACKENDS,
    "GET /endpoints/{id}/models": READ_BACKENDS,
    "GET /dashboard/nodes": READ_BACKENDS,
    "GET /dashboard/runtimes": READ_BACKENDS,
    "GET /dashboard/endpoints": READ_BACKENDS,
    "GET /dashboard/stats": READ_QUEUE,
    "GET /dashboard/request-history": READ_QUEUE,
    "GET /dashboard/overview": READ_QUEUE,
    "GET /dashboard/metrics/{id}": READ_QUEUE,
    "GET /metrics/summary": READ_QUEUE,
    "GET /metrics/cloud": READ_QUEUE,
    "GET /dashboard/stats/tokens": READ_QUEUE,
    "GET /dashboard/stats/tokens/daily": READ_QUEUE,
    "GET /dashboard/stats/tokens/monthly": READ_QUEUE,
    "GET /dashboard/request-responses": READ_LOGS,
    "GET /dashboard/request-responses/export": READ_LOGS,
    "GET /dashboard/request-responses/{id:path}": READ_LOGS,
    "GET /dashboard/logs/router": READ_LOGS,
    "GET /dashboard/logs/lb": READ_LOGS,
    "GET /dashboard/audit-logs": READ_LOGS,
    "GET /dashboard/audit-logs/stats": READ_LOGS,
    "POST /dashboard/audit-logs/verify": READ_LOGS,
    "GET /system": EVERYBODY,
}


def below(prefix: str, table: dict[str, Expected]) -> dict[tuple[str, str], Expected]:
    return {(route.split(" ")[0], prefix + route.split(" ")[1]): who for route, who in table.items()}


# Another system's routes are another line here.
EXPECTED: dict[tuple[str, str], Expected] = {
    **below("/admin/api/v1", ADMIN),
    **below("/v0/auth", AUTH),
    **below("/api/auth", AUTH),
    **below("/api/admin", MINDROUTER),
    **below("/api/cluster", CLUSTER),
    **below("/v0", LLMLB | {"GET /version": EVERYBODY}),
    ("GET", "/metrics/cloud"): EVERYBODY,
    **below("/api", LLMLB),
}
# While a new password is due, whatever the role.
DUE = {
    ("GET", "/admin/api/v1/me"),
    ("GET", "/admin/api/v1/session"),
    ("POST", "/admin/api/v1/me/password"),
    ("GET", "/v0/auth/me"),
    ("PUT", "/v0/auth/change-password"),
    ("GET", "/api/auth/me"),
    ("PUT", "/api/auth/change-password"),
}
EVERY_SCOPE = {"admin", "admin:*"}


def user(*roles: Role, is_password_due: bool = False) -> Actor:
    return Actor(kind=ActorKind.USER, name="ada", user_id=1, roles=frozenset(roles), is_password_due=is_password_due)


def admin_key(scope: str) -> Actor:
    return Actor(
        kind=ActorKind.KEY,
        name="ada",
        user_id=1,
        key_id="k",
        roles=frozenset({Role.ADMIN, Role.MEMBER}),
        scopes=(scope,),
    )


def expected_of_role(role: str) -> set[tuple[str, str]]:
    return {route for route, (roles, _) in EXPECTED.items() if role in roles.split()}


def expected_of_scope(scope: str) -> set[tuple[str, str]]:
    if scope in EVERY_SCOPE:
        return set(EXPECTED)
    return {route for route, (_, scopes) in EXPECTED.items() if scope in scopes}


ACTORS: dict[str, tuple[Actor, set[tuple[str, str]]]] = {
    "anonymous": (anonymous("192.0.2.1", "r"), expected_of_role("anonymous")),
    "member": (user(Role.MEMBER), expected_of_role("member")),
    "auditor": (user(Role.AUDITOR, Role.MEMBER), expected_of_role("auditor")),
    "administrator": (user(Role.ADMIN, Role.MEMBER), expected_of_role("admin")),
    "owner": (owner("r"), expected_of_role("admin")),
    "administrator with a password to choose": (
        user(Role.ADMIN, Role.MEMBER, is_password_due=True),
        DUE | expected_of_role("anonymous"),
    ),
    "a member's key for administration": (
        Actor(kind=ActorKind.KEY, name="ada", user_id=1, roles=frozenset({Role.MEMBER}), scopes=("admin",)),
        expected_of_role("member"),
    ),
    "a key whose scope nobody knows": (admin_key("unheard-of"), expected_of_role("anonymous")),
    **{f"administrator's key for {scope}": (admin_key(scope), expected_of_scope(scope)) for scope in SCOPES},
}


@pytest.fixture(scope="module")
def offer(tmp_path_factory: pytest.TempPathFactory) -> Offer:
    return offer_of(tmp_path_factory.mktemp("roles"))


def test_every_route_is_listed(offer: Offer) -> None:
    served = set(routes_of(offer))
    assert served - set(EXPECTED) == set(), "say in this file who may"
    assert set(EXPECTED) - served == set(), "no such route is served"


@pytest.mark.parametrize("name", ACTORS)
async def test_who_may_what(tmp_path: Path, offer: Offer, name: str) -> None:
    actor, expected = ACTORS[name]
    house = make_house(tmp_path, None)
    house.actor = actor
    client = house.serve(*offer.apis, carry_out=let_in)
    allowed = set()
    for method, path in EXPECTED:
        response = await client.open(path.replace("{", "").replace("}", "").replace(":path", ""), method=method)
        if response.status_code not in (401, 403):
            allowed.add((method, path))
        else:
            assert response.status_code == (403 if actor.is_known else 401), path
    assert allowed == expected


async def let_in(endpoint: object, call: object, body: bytes) -> Answer:
    return Answer(value="let in")
