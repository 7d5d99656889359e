"""Shell. `mrproxy group`, against an API that a test has scripted."""

from tests.fakes.api_server import page

GROUP = {"name": "a/b", "source": "managed", "limits": {"token_budget": 5}, "shared": {"token_budget": None}}


def test_a_group_is_added_changed_shown_and_deleted(api, run):
    api.answers |= {"POST /groups": GROUP, "PATCH /groups/a/b": GROUP, "GET /groups/a/b": GROUP}
    api.answers["DELETE /groups/a/b"] = {}
    run("group", "add", "a/b", "--weight=3", "--auditor", "--models=m", "--shared-token-budget=9")
    assert api.bodies("POST") == [
        {"name": "a/b", "weight": 3, "is_auditor": True, "models": ["m"], "shared": {"token_budget": 9}}
    ]
    run("group", "change", "a/b", "--rename=c", "--max-keys=none", "--no-captures-bodies")
    assert api.bodies("PATCH") == [{"name": "c", "max_keys": None, "captures_bodies": False}]
    assert "limits\ttoken_budget=5\n" in run("group", "show", "a/b").stdout
    assert run("group", "delete", "a/b", "--yes").stdout == "a/b: deleted\n"


def test_the_list_shows_both_pots(api, run):
    api.answers["GET /groups"] = page(GROUP)
    header, row = [line.split("\t") for line in run("group", "list", "--search=a").stdout.splitlines()]
    cells = dict(zip(header, row, strict=True))
    assert (cells["limits"], cells["shared"]) == ("token_budget=5", "-")
