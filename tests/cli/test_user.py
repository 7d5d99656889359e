"""Shell. `mrproxy user`, against an API that a test has scripted."""

import json

import pytest

from tests.fakes.api_server import page, problem

NAME = "zoë/ünï 用户"
USER = {"id": "u1", "name": NAME, "source": "managed", "limits": {"token_budget": None, "budget_period": "lifetime"}}


@pytest.fixture
def users(api):
    api.answers |= {"GET /users": page(USER), "PATCH /users/u1": USER, "POST /users": USER}
    return api


def test_the_list_is_a_table_and_json_has_every_field(users, run):
    header, row = [line.split("\t") for line in run("user", "list", "--group=staff", "--active").stdout.splitlines()]
    assert dict(zip(header, row, strict=True))["limits"] == "-"
    assert users.asked[0].query == {"limit": "500", "group": "staff", "is_active": "true"}
    assert json.loads(run("user", "list", "--json").stdout) == [USER]


def test_a_new_user_has_what_was_said_and_no_more(users, run):
    result = run("user", "add", NAME, "--group=staff", "--token-budget=5", "--budget-period=monthly", "--inactive")
    assert result.exit_code == 0
    assert users.bodies("POST") == [
        {
            "name": NAME,
            "group": "staff",
            "is_active": False,
            "limits": {"token_budget": 5, "budget_period": "monthly"},
        }
    ]


def test_none_takes_away_and_what_is_not_named_stays(users, run):
    result = run("user", "change", NAME, "--weight=none", "--models=a, b", "--token-budget=NONE", "--rename=z")
    assert result.exit_code == 0
    assert users.bodies("PATCH") == [
        {"name": "z", "weight": None, "models": ["a", "b"], "limits": {"token_budget": None}}
    ]


def test_a_change_of_nothing_asks_nobody(users, run):
    assert (run("user", "change", NAME).exit_code, users.asked) == (2, [])


def test_a_password_is_read_and_never_said(users, run, tmp_path):
    (tmp_path / "p").write_text("correct horse\nbattery")
    result = run("user", "change", NAME, f"--password-file={tmp_path / 'p'}")
    assert (users.bodies("PATCH"), "horse" in result.output) == ([{"password": "correct horse"}], False)


def test_a_reset_password_is_the_only_line_on_standard_output(users, run):
    result = run("user", "reset-password", NAME)
    (body,) = users.bodies("PATCH")
    assert body == {"password": result.stdout.rstrip("\n"), "must_change_password": True}
    assert len(body["password"]) >= 20
    given = run("user", "reset-password", NAME, "--password-file=-", text="a good one\n")
    assert (given.stdout, users.bodies("PATCH")[1]["password"]) == ("", "a good one")


@pytest.mark.parametrize(("is_gone", "words"), [(True, "deleted"), (False, "deactivated")])
def test_deleting_says_what_became_of_it(users, run, is_gone, words):
    users.answers["DELETE /users/u1"] = {"id": "u1", "is_gone": is_gone}
    assert words in run("user", "delete", NAME, "--yes").stdout


def test_show_and_unlock(users, run):
    users.answers["POST /users/u1/unlock"] = USER
    assert f"name\t{NAME}\n" in run("user", "show", NAME).stdout
    assert run("user", "unlock", NAME).stdout == f"{NAME}: unlocked\n"


def test_an_invitation_is_its_code(api, run):
    made = {"id": "i1", "group": "staff", "expires_utc": "2027-01-01T00:00:00Z", "code": "inv_x", "name": "i"}
    api.answers |= {"POST /invitations": made, "GET /invitations": page(made), "POST /invitations/i1/revoke": made}
    assert run("user", "invite", "--group=staff", "--expires=2027-01-01").stdout == "inv_x\n"
    assert api.bodies("POST") == [{"group": "staff", "expires_utc": "2027-01-01T00:00:00+00:00"}]
    assert json.loads(run("user", "invite", "--json").stdout)["code"] == "inv_x"
    assert "i1" in run("user", "invitations", "--status=active").stdout
    assert run("user", "uninvite", "i1").stdout == "i1: revoked\n"


def test_a_member_is_told_what_he_lacks_and_sees_no_table(there, run):
    there.answers["GET /users"] = problem(403, "forbidden", "You may not do this", "This needs users.read.")
    result = run("user", "list", "--key=mr_member", url=there.url)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "You may not do this: This needs users.read." in result.stderr


def test_what_strangers_wrote_does_not_steer_the_terminal(users, run):
    users.answers["GET /users"] = page(USER | {"name": "\x1b[2Jx\u202e"})
    assert "\x1b" not in run("user", "list").stdout
