"""Shell. `mrproxy quota`, against an API that a test has scripted."""

from tests.fakes.api_server import page

REQUEST = {"id": "7", "user": "ada", "status": "pending", "requested_tokens": 9}


def test_the_list_is_of_all_or_ones_own(api, run):
    api.answers["GET /quota-requests"] = api.answers["GET /me/quota-requests"] = page(REQUEST)
    assert "ada" in run("quota", "list", "--status=pending", "--user=ada").stdout
    assert api.asked[0].query == {"limit": "500", "status": "pending", "user": "ada"}
    assert run("quota", "list", "--mine").exit_code == 0
    assert run("quota", "list", "--mine", "--user=ada").exit_code == 2


def test_a_review_says_what_is_granted(api, run):
    api.answers["POST /quota-requests/7/review"] = REQUEST
    run("quota", "approve", "7", "--tokens=5", "--notes=for a month")
    run("quota", "deny", "7")
    assert api.bodies("POST") == [
        {"is_approved": True, "granted_tokens": 5, "notes": "for a month"},
        {"is_approved": False},
    ]


def test_one_asks_for_oneself(api, run):
    api.answers["POST /me/quota-requests"] = REQUEST
    run("quota", "ask", "--tokens=9", "--justification=thesis")
    assert api.bodies("POST") == [{"requested_tokens": 9, "justification": "thesis"}]
