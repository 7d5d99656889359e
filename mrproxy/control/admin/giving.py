"""Pure. Nobody gives, or takes over, more than he has: asked wherever keys, users, groups and invitations are written.

It matters to keys whose scopes leave an administrator less than all. Without these checks `api_keys.manage` could make
or renew a key for everything, and `users.manage` could set an administrator's password.
Read next: `../permissions.py`; tests/control/admin/test_giving.py, where every route is tried.
"""

from collections.abc import Iterable

from mrproxy.control.api.actor import Actor
from mrproxy.control.api.problem import Detail, Problem
from mrproxy.control.permissions import ALL, ASKING, SCOPES, Role
from mrproxy.storage.people.values import Group, User

TOO_MUCH = "What you signed in with makes, changes and renews only keys that may no more than it, beside asking models."
RESERVED = (
    "Administrators, auditors, their groups and their sessions are changed only by who may everything; "
    "what you signed in with may less."
)
# Without the database a group is what its name says (`../api/identify.py`).
NAMES = frozenset({Role.ADMIN.value, Role.AUDITOR.value})


def check_scopes_given(actor: Actor, scopes: Iterable[str]) -> None:
    """Raises Problem, unless a key with them may only ask models, or what the actor may.

    Whose key it is does not matter: a member may become an administrator, and the key with him.
    """
    given = frozenset().union(*(SCOPES.get(scope, frozenset()) for scope in scopes))
    if not given - ASKING <= actor.permissions:
        raise Problem("forbidden", TOO_MUCH, errors=(Detail("/scopes", "allow too much"),))


def check_reserved(actor: Actor, *concerned: User | Group) -> None:
    """As they were and as they will be. Raises Problem."""
    if actor.permissions != ALL and any(is_reserved(each) for each in concerned):
        raise Problem("forbidden", RESERVED)


def is_reserved(concerned: User | Group) -> bool:
    group = concerned.group if isinstance(concerned, User) else concerned.name
    return concerned.is_admin or concerned.is_auditor or group in NAMES
