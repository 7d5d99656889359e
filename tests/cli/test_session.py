"""Shell. `mrproxy session`, against an API that a test has scripted."""

import pytest

from tests.fakes.api_server import page


@pytest.fixture
def sessions(api):
    api.answers |= {"GET /users/ada": {"id": "u1", "name": "ada"}, "GET /users/u1/sessions": page({"id": "s1"})}
    api.answers |= {"DELETE /users/u1/sessions/s1": {}, "DELETE /users/u1/sessions": {"ended": 2}}
    return api


def test_sessions_are_listed_and_ended(sessions, run):
    assert run("session", "list", "ada").stdout.splitlines()[1].startswith("s1\t")
    assert run("session", "revoke", "ada", "s1").stdout == "ada: the session has ended\n"
    assert run("session", "revoke", "ada", "--all").stdout == "ada: 2 sessions have ended\n"


@pytest.mark.parametrize("words", [["ada"], ["ada", "s1", "--all"]])
def test_which_must_be_said(sessions, run, words):
    assert run("session", "revoke", *words).exit_code == 2
    assert sessions.asked == []
