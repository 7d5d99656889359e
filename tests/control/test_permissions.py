"""Roles, scopes and what is due; which route needs what is asked in tests/control/test_routes_by_role.py."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.control.permissions import (
    ALL,
    GRANTS,
    SCOPES,
    WITH_PASSWORD_DUE,
    Permission,
    Role,
    permissions_of,
    roles_of,
)
from mrproxy.link.scopes import INFERENCE_SCOPES

roles = st.frozensets(st.sampled_from(Role))
scopes = st.none() | st.lists(st.sampled_from([*SCOPES, "unheard-of"]))


@given(roles, scopes, st.booleans())
def test_a_scope_gives_nothing_that_the_role_does_not(roles, scopes, is_password_due):
    allowed = permissions_of(roles, scopes, is_password_due=is_password_due)
    assert allowed <= permissions_of(roles, None)
    assert allowed >= GRANTS[Role.ANONYMOUS]


@given(roles, st.lists(st.sampled_from([*SCOPES])), st.sampled_from([*SCOPES]))
def test_another_scope_takes_nothing_away(roles, scopes, more):
    assert permissions_of(roles, scopes) <= permissions_of(roles, [*scopes, more])


@given(roles, scopes)
def test_until_a_new_password_is_chosen_hardly_anything_is_allowed(roles, scopes):
    assert permissions_of(roles, scopes, is_password_due=True) <= WITH_PASSWORD_DUE


def test_an_administrator_may_everything():
    assert permissions_of(roles_of(is_admin=True, is_auditor=False), None) == ALL


def test_an_auditor_reads_everything_and_changes_what_is_its_own():
    allowed = permissions_of(roles_of(is_admin=False, is_auditor=True), None)
    assert {Permission.RECORDS_READ, Permission.BODIES_READ, Permission.AUDIT_READ, Permission.USERS_READ} <= allowed
    changing = {each for each in allowed if not each.value.endswith(".read")}
    own = {each for each in changing if each.value.startswith("own-")}
    assert changing - own == {Permission.PUBLIC, Permission.SIGN_IN, Permission.MODELS_LIST, Permission.INFERENCE}


def test_a_member_has_what_is_its_own():
    allowed = permissions_of(roles_of(is_admin=False, is_auditor=False), None)
    assert {each for each in Permission if each.value.startswith("own-")} <= allowed
    assert not {Permission.USERS_READ, Permission.RECORDS_READ, Permission.SETTINGS_READ} & allowed


def test_workers_let_the_same_scopes_infer_but_not_those_that_only_administer():
    granting = {scope for scope, granted in SCOPES.items() if Permission.INFERENCE in granted}
    assert granting == INFERENCE_SCOPES | {scope for scope, granted in SCOPES.items() if granted == ALL}


@pytest.mark.parametrize("scope", sorted(INFERENCE_SCOPES))
def test_a_key_for_inference_administers_nothing(scope):
    allowed = permissions_of({Role.ADMIN, Role.MEMBER}, [scope])
    assert allowed - GRANTS[Role.ANONYMOUS] <= {
        Permission.INFERENCE,
        Permission.MODELS_LIST,
        Permission.OWN_USAGE_READ,
    }


@pytest.mark.parametrize("scope", [scope for scope, granted in SCOPES.items() if granted == ALL])
def test_a_members_key_for_administration_is_a_members_key(scope):
    assert permissions_of({Role.MEMBER}, [scope]) == GRANTS[Role.MEMBER]


def test_reading_changes_nothing():
    changing = {each for each in SCOPES["read"] if not each.value.endswith(".read")}
    assert changing == {Permission.MODELS_LIST}
