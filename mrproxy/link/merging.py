"""Pure. One snapshot from two sources: what is configured, and what the database manages.

1. Where both have a group, user, backend or model of one name, or the same key, the configured one is taken whole.
2. The groups that every gateway has stand behind both: whoever names one of them replaces it.
3. A key names its user. A configured one brings a user along that nobody lists; a managed one whose user or group is
   gone (they are changed one after the other) belongs to the group `other`, which can do least.
4. At the end a user has all its limits: its own, and its group's where it sets none.

Read next: `publishing.py`, which writes the result.
"""

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

import msgspec

from mrproxy.config import DEFAULT_GROUPS
from mrproxy.link.snapshot import GroupSpec, KeySpec, Limits, Managed, Snapshot, UserSpec

FALLBACK_GROUP = "other"


class _Named(Protocol):
    @property
    def name(self) -> str: ...


_N = TypeVar("_N", bound=_Named)


def merge(configured: Snapshot, managed: Managed | None) -> Snapshot:
    """What workers serve from, of the configured part's generation."""
    managed = Managed(generation=0) if managed is None else managed
    defaults = [GroupSpec(name, weight) for name, weight in DEFAULT_GROUPS.items()]
    groups = _first_of_each_name(configured.groups, managed.groups, defaults)
    users = _first_of_each_name(configured.users, managed.users)
    users |= {each.name: each for each in _users_of_keys(configured.keys, users)}
    digests = {key.digest for key in configured.keys}
    added = (key for key in managed.keys if key.digest not in digests)
    return msgspec.structs.replace(
        configured,
        groups=tuple(groups.values()),
        users=tuple(_completed(each, groups) for each in users.values()),
        keys=(*configured.keys, *(_at_home(key, users, groups) for key in added)),
        backends=tuple(_first_of_each_name(configured.backends, managed.backends).values()),
        models=tuple(_first_of_each_name(configured.models, managed.models).values()),
    )


def filled(own: Limits, others: Limits) -> Limits:
    """`own`, with what it leaves open taken from `others`. A budget and its period go together."""
    changes = {
        name: getattr(others, name)
        for name in ("requests_per_minute", "tokens_per_minute", "concurrent_requests", "token_budget")
        if getattr(own, name) is None
    }
    if "token_budget" in changes:
        changes["budget_period"] = others.budget_period
    return msgspec.structs.replace(own, **changes)


def _first_of_each_name(*sources: Iterable[_N]) -> dict[str, _N]:
    found: dict[str, _N] = {}
    for source in sources:
        for each in source:
            found.setdefault(each.name, each)
    return found


def _users_of_keys(keys: Iterable[KeySpec], users: dict[str, UserSpec]) -> Iterator[UserSpec]:
    """Users that only a key names: they are of the group that it names."""
    for key in keys:
        if key.user is not None and key.user not in users:
            yield UserSpec(key.user, key.group)


def _completed(user: UserSpec, groups: dict[str, GroupSpec]) -> UserSpec:
    group = groups.get(user.group) or groups[FALLBACK_GROUP]
    limits = user.limits if group.limits == Limits() else filled(user.limits, group.limits)
    if group.name == user.group and limits == user.limits:
        return user
    return msgspec.structs.replace(user, group=group.name, limits=limits)


def _at_home(key: KeySpec, users: dict[str, UserSpec], groups: dict[str, GroupSpec]) -> KeySpec:
    is_known = key.user in users if key.user is not None else key.group in groups
    return key if is_known or key.group == FALLBACK_GROUP else msgspec.structs.replace(key, group=FALLBACK_GROUP)
