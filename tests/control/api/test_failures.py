"""What storage raises, as problems."""

import pytest
from sqlalchemy.exc import IntegrityError

from mrproxy.control.api.failures import problem_of, sentence
from mrproxy.storage.failures import DatabaseCorrupt, DatabaseFull, DatabaseUnavailable
from mrproxy.storage.people.errors import Changed, InUse, Invalid, NotAllowed, NotFound, Taken


@pytest.mark.parametrize(
    ("raised", "status"),
    [
        (DatabaseUnavailable("gone"), 503),
        (DatabaseFull("full"), 503),
        (DatabaseCorrupt("damaged"), 503),
        (NotFound("user", "ada"), 404),
        (Taken("name", "ada"), 409),
        (InUse("three users are in it"), 409),
        (NotAllowed("the last administrator stays"), 409),
        (Invalid("name", "must not be empty"), 422),
        (IntegrityError("INSERT …", {}, Exception("UNIQUE constraint failed: users.secret")), 409),
    ],
)
def test_each_failure_has_its_status(raised, status):
    assert problem_of(raised, is_conditional=False).status == status


def test_who_named_a_version_is_told_that_the_condition_failed():
    assert problem_of(Changed(7), is_conditional=True).status == 412
    assert problem_of(Changed(7), is_conditional=False).status == 409
    assert "7" in problem_of(Changed(7), is_conditional=True).detail


def test_a_database_that_is_away_says_when_to_come_back():
    assert dict(problem_of(DatabaseUnavailable("gone"), is_conditional=False).headers) == {"Retry-After": "5"}
    assert dict(problem_of(DatabaseFull("full"), is_conditional=False).headers) == {"Retry-After": "60"}


def test_a_violated_constraint_shows_no_statement():
    problem = problem_of(IntegrityError("INSERT …", {}, Exception("users.secret")), is_conditional=False)
    assert "secret" not in problem.detail


def test_the_field_that_is_taken_or_invalid_is_pointed_at():
    assert problem_of(Taken("name", "ada"), is_conditional=False).errors[0].pointer == "/name"
    assert problem_of(Invalid("token_budget", "x"), is_conditional=False).errors[0].pointer == "/limits/token_budget"
    assert problem_of(Invalid("shared_token_budget", "x"), is_conditional=False).errors[0].pointer == (
        "/shared/token_budget"
    )
    assert problem_of(Invalid("email", "is none"), is_conditional=False).errors[0].pointer == "/email"


def test_details_are_sentences():
    assert sentence(Exception("there is no user ada")) == "There is no user ada."
    assert sentence(Exception("Done.")) == "Done."
