"""What entities have in common."""

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.control.admin.shapes import (
    LimitChanges,
    LimitFields,
    Wanted,
    at,
    changes_of,
    configured_problem,
    limits_shown,
    limits_wanted,
    moment,
    must_be,
    name_of,
    seconds_of,
)
from mrproxy.control.api.actor import anonymous, owner
from mrproxy.control.api.problem import Problem
from mrproxy.link.snapshot import Limits


class Patch(Wanted, frozen=True, kw_only=True):
    name: str | msgspec.UnsetType | None = msgspec.UNSET
    until: datetime | msgspec.UnsetType = msgspec.UNSET
    limits: LimitChanges | msgspec.UnsetType = msgspec.UNSET
    shared: LimitChanges | msgspec.UnsetType = msgspec.UNSET


amounts = st.none() | st.integers(1, 2**63 - 1)
limits = st.builds(Limits, amounts, amounts, amounts, amounts, st.sampled_from(["lifetime", "monthly"]))


@given(limits)
def test_limits_survive(given_limits):
    assert limits_wanted(limits_shown(given_limits)) == given_limits
    encoded = msgspec.json.encode(limits_shown(given_limits))
    assert limits_wanted(msgspec.json.decode(encoded, type=LimitFields)) == given_limits


@given(st.floats(0, 253_402_300_799))
def test_moments_survive_to_the_millisecond(utc):
    assert seconds_of(moment(utc)) == pytest.approx(utc, abs=0.001)


def test_moments_are_rfc_3339_in_utc():
    assert msgspec.json.encode(at(0)) == b'"1970-01-01T00:00:00Z"'
    assert moment(None) is seconds_of(None) is None


def test_a_patch_is_what_it_names():
    patch = Patch(
        name=None,
        until=datetime(1970, 1, 2, tzinfo=UTC),
        limits=LimitChanges(token_budget=5),
        shared=LimitChanges(token_budget=None, budget_period="monthly"),
    )
    assert changes_of(patch) == {
        "name": None,
        "until": 86400.0,
        "token_budget": 5,
        "shared_token_budget": None,
        "shared_budget_period": "monthly",
    }
    with pytest.raises(Problem):
        changes_of(Patch())


def test_who_acts_has_a_name():
    assert (name_of(owner("r")), name_of(anonymous("", "r"))) == ("local", "anonymous")


def test_what_is_not_there_is_a_404_and_what_is_configured_a_409():
    with pytest.raises(Problem) as raised:
        must_be(None, "user", "ada")
    assert (raised.value.status, must_be(1, "user", "ada")) == (404, 1)
    assert configured_problem("user", "ada").status == 409
