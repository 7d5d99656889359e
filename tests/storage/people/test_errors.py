"""Sentences that people read."""

import pytest

from mrproxy.storage.people.errors import Changed, EntityError, InUse, Invalid, NotAllowed, NotFound, Taken


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (NotFound("user", 7), "there is no user 7"),
        (Taken("name", "ann"), "name 'ann' is taken"),
        (Taken("digest"), "this digest is taken"),
        (Changed(4), "it has been changed in the meantime; its version is 4 now"),
        (InUse("group 'staff' has 3 members"), "group 'staff' has 3 members"),
        (NotAllowed("the last administrator stays"), "the last administrator stays"),
        (Invalid("name", "must not be empty"), "name must not be empty"),
    ],
)
def test_each_error_is_one_sentence(error: EntityError, sentence: str):
    assert str(error) == sentence


def test_what_a_program_needs_is_not_only_in_the_sentence():
    assert Changed(4).current_version == 4
    assert (Taken("email", "a@b").field, Invalid("name", "is long").field) == ("email", "name")
    assert (NotFound("user", 7).kind, NotFound("user", 7).entity) == ("user", "7")
    assert NotAllowed("because").reason == "because"
