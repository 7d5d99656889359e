"""Shell. `/groups`: what members are allowed together and each, by name. Read next: `storage/people/groups.py`."""

from datetime import datetime
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType
from sqlalchemy.ext.asyncio import AsyncConnection

from mrproxy.control.admin.auditing import note
from mrproxy.control.admin.giving import check_reserved
from mrproxy.control.admin.listing import BothQuery, fetch_by, is_found, page_of_both
from mrproxy.control.admin.shapes import (
    CONFIGURATION,
    MANAGED,
    Days,
    LimitChanges,
    LimitFields,
    Models,
    Name,
    Short,
    Source,
    Text,
    Wanted,
    Weight,
    changes_of,
    configured_problem,
    fields_of,
    limits_shown,
    limits_wanted,
    moment,
    must_be,
)
from mrproxy.control.api.actor import Actor
from mrproxy.control.api.call import Call
from mrproxy.control.api.endpoint import Answer, Endpoint
from mrproxy.control.api.pages import Listing, answer_page
from mrproxy.control.api.problem import Detail, Problem
from mrproxy.control.permissions import Permission
from mrproxy.link.snapshot import GroupSpec
from mrproxy.storage.people import groups
from mrproxy.storage.people.values import Group, GroupFilter, NewGroup


class GroupShown(msgspec.Struct, frozen=True, kw_only=True):
    """`limits` are each member's that sets none of its own; `shared` is one pot for all. `models` null allows all."""

    name: str
    source: Source
    display_name: str = ""
    description: str = ""
    weight: int = 1
    is_admin: bool = False
    is_auditor: bool = False
    models: tuple[str, ...] | None = None
    max_keys: int | None = None
    key_days: int | None = None
    captures_bodies: bool = False
    limits: LimitFields = LimitFields()
    shared: LimitFields = LimitFields()
    is_overridden: bool = False
    created_utc: datetime | None = None
    updated_utc: datetime | None = None
    version: int = 0


class GroupWanted(Wanted, frozen=True, kw_only=True):
    """`max_keys` and `key_days`: what members may make for themselves, and for how long."""

    name: Name
    display_name: Short = ""
    description: Text = ""
    weight: Weight = 1
    is_admin: bool = False
    is_auditor: bool = False
    models: Models | None = None
    max_keys: Days | None = None
    key_days: Days | None = None
    captures_bodies: bool = False
    limits: LimitFields = LimitFields()
    shared: LimitFields = LimitFields()


class GroupChanges(Wanted, frozen=True, kw_only=True):
    """As in a group; what is not named stays."""

    name: Name | UnsetType = UNSET
    display_name: Short | UnsetType = UNSET
    description: Text | UnsetType = UNSET
    weight: Weight | UnsetType = UNSET
    is_admin: bool | UnsetType = UNSET
    is_auditor: bool | UnsetType = UNSET
    models: Models | UnsetType | None = UNSET
    max_keys: Days | UnsetType | None = UNSET
    key_days: Days | UnsetType | None = UNSET
    captures_bodies: bool | UnsetType = UNSET
    limits: LimitChanges | UnsetType = UNSET
    shared: LimitChanges | UnsetType = UNSET


async def list_groups(call: Call[None, BothQuery]) -> Answer:
    """List groups."""
    configured = call.plane.configured().groups
    names = {each.name for each in configured}
    ordered = sorted(configured, key=lambda each: each.name)
    own = [show_configured(each) for each in ordered if is_found(call.query.search, each.name)]
    wanted = GroupFilter(search=call.query.search)
    fetch = fetch_by(call, groups.list_groups, wanted, lambda group: shown(group, names))
    return answer_page(call, *await page_of_both(call.query, int, own, fetch))


async def show_group(call: Call[None, None]) -> Answer:
    """One group, by name."""
    name = call.path["group"]
    found = None if call.plane.store is None else await call.read(groups.find_group_by_name, name)
    if found is not None:
        return answer_group(call, found)
    return Answer(value=show_configured(must_be(configured_group(call, name), "group", name)))


async def create_group(call: Call[GroupWanted, None]) -> Answer:
    """Make a group."""
    if configured_group(call, call.request.name) is not None:
        raise configured_problem("group", call.request.name)
    group = await call.transact(write_new, call.actor, call.request, call.now_utc)
    return answer_group(call, group)


async def change_group(call: Call[GroupChanges, None]) -> Answer:
    """Change a group."""
    found = await found_group(call)
    group = await call.transact(write_changes, call.actor, found.id, call.request, call.version, call.now_utc)
    return answer_group(call, group)


async def delete_group(call: Call[None, None]) -> Answer:
    """Delete a group that nobody is in."""
    found = await found_group(call)
    await call.transact(write_removal, call.actor, found.id, call.version, call.now_utc)
    return Answer()


async def found_group(call: Call[Any, None]) -> Group:
    """Of the database. Raises Problem for one of the configuration."""
    name = call.path["group"]
    found = await call.read(groups.find_group_by_name, name)
    if found is None and configured_group(call, name) is not None:
        raise configured_problem("group", name)
    return must_be(found, "group", name)


def configured_group(call: Call[Any, Any], name: str) -> GroupSpec | None:
    return next((each for each in call.plane.configured().groups if each.name == name), None)


async def group_named(connection: AsyncConnection, name: str) -> Group:
    """The group that a body names. Raises Problem."""
    group = await groups.find_group_by_name(connection, name)
    if group is None:
        raise Problem("invalid", f"There is no group {name!r}.", errors=(Detail("/group", "is no group"),))
    return group


async def write_new(connection: AsyncConnection, actor: Actor, wanted: GroupWanted, now_utc: float) -> Group:
    pots = {"limits": limits_wanted(wanted.limits), "shared": limits_wanted(wanted.shared)}
    new = NewGroup(**fields_of(wanted, NewGroup) | pots)
    group = await groups.create_group(connection, new, now_utc)
    check_reserved(actor, group)
    await note(connection, actor, "group.create", "group", group.name, None, group, now_utc)
    return group


async def write_changes(
    connection: AsyncConnection, actor: Actor, group_id: int, patch: GroupChanges, version: int | None, now_utc: float
) -> Group:
    before = await groups.get_group(connection, group_id)
    after = await groups.change_group(connection, group_id, changes_of(patch), version, now_utc)
    check_reserved(actor, before, after)
    await note(connection, actor, "group.change", "group", after.name, before, after, now_utc)
    return after


async def write_removal(
    connection: AsyncConnection, actor: Actor, group_id: int, version: int | None, now_utc: float
) -> None:
    group = await groups.delete_group(connection, group_id, version, now_utc)
    check_reserved(actor, group)
    await note(connection, actor, "group.delete", "group", group.name, group, None, now_utc)


def answer_group(call: Call[Any, Any], group: Group) -> Answer:
    names = {each.name for each in call.plane.configured().groups}
    return Answer(value=shown(group, names), version=group.version)


def shown(group: Group, configured: set[str]) -> GroupShown:
    plain = fields_of(group, GroupShown)
    plain |= {name: moment(plain[name]) for name in plain if name.endswith("_utc")}
    pots = {"limits": limits_shown(group.limits), "shared": limits_shown(group.shared)}
    return GroupShown(**plain | pots | {"source": MANAGED, "is_overridden": group.name in configured})


def show_configured(group: GroupSpec) -> GroupShown:
    return GroupShown(
        name=group.name,
        source=CONFIGURATION,
        weight=group.weight,
        is_admin=group.name == "admin",
        is_auditor=group.name == "auditor",
        captures_bodies=group.captures_bodies,
        limits=limits_shown(group.limits),
        shared=limits_shown(group.shared),
    )


P = Permission
ENDPOINTS = (
    Endpoint("GET", "/groups", P.GROUPS_READ, list_groups, query=BothQuery, answer=Listing[GroupShown]),
    Endpoint("POST", "/groups", P.GROUPS_WRITE, create_group, GroupWanted, answer=GroupShown, status=201),
    Endpoint("GET", "/groups/{group:path}", P.GROUPS_READ, show_group, answer=GroupShown),
    Endpoint("PATCH", "/groups/{group:path}", P.GROUPS_WRITE, change_group, GroupChanges, answer=GroupShown),
    Endpoint("DELETE", "/groups/{group:path}", P.GROUPS_WRITE, delete_group, status=204),
)
