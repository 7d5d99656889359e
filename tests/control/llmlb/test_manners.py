"""How llmlb says that something is wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.control.api.endpoint import Answer
from mrproxy.control.api.problem import Problem
from mrproxy.control.api.serving import PASSWORD_DUE
from mrproxy.control.llmlb.manners import moment_in, theirs, word
from mrproxy.storage.people.errors import Invalid, NotAllowed, NotFound


def test_a_problem_is_a_sentence() -> None:
    assert word(Problem("not-found", "User not found"), "r") == (b'{"error":"User not found"}', "application/json")


def test_a_password_to_be_chosen_is_a_word_that_their_pages_know() -> None:
    assert word(Problem("forbidden", PASSWORD_DUE), "r")[0] == b'{"error":"password_change_required"}'
    assert b"chosen" in word(Problem("conflict", PASSWORD_DUE), "r")[0]


@pytest.mark.parametrize(
    ("raised", "status"),
    [
        (Invalid("name", "is odd"), 400),
        (NotAllowed("nobody may"), 400),
        (Problem("invalid", "It is odd."), 400),
        (Problem("configured", "It is configured."), 409),
    ],
)
async def test_a_value_that_cannot_be_is_a_bad_request(raised: Exception, status: int) -> None:
    async def handler(call: object) -> Answer:
        raise raised

    with pytest.raises(Problem) as caught:
        await theirs(handler)(None)  # type: ignore[arg-type]
    assert caught.value.status == status
    assert caught.value.detail[0].isupper()


async def test_the_rest_passes() -> None:
    async def handler(call: object) -> Answer:
        """List things."""
        raise NotFound("user", 1)

    assert theirs(handler).__doc__ == "List things."
    with pytest.raises(NotFound):
        await theirs(handler)(None)  # type: ignore[arg-type]


def test_moments_need_an_offset() -> None:
    assert moment_in("2030-01-01T00:00:00+01:00", "x") == 1893452400.0
    assert moment_in(None, "x") is None
    assert moment_in("", "x") is None


@given(st.text(alphabet=st.characters(exclude_categories=["Nd"]), min_size=1))
def test_whatever_is_no_moment_is_said_to_be_none(text: str) -> None:
    with pytest.raises(Problem) as caught:
        moment_in(text, "start_time")
    assert (caught.value.status, caught.value.detail) == (400, "Invalid start_time format")
