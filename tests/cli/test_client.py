"""Shell. The client of the API: pages, errors as sentences, what is sent again; and no key ever gets into an error."""

import socket
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from mrproxy.cli.client import Api, Place, Refused, Unreachable, one
from mrproxy.provision import DataDirectory
from tests.fakes.api_server import Answer, FakeApi, page, problem, run_api
from tests.fakes.certificate import make_certificate

KEY = "mr_very-secret"


@pytest.fixture
def there() -> Iterator[FakeApi]:
    with run_api(FakeApi()) as running:
        yield running


def api_of(there: FakeApi, *, path: str = "", key: str = KEY, seconds: float = 10) -> Api:
    return Api(Place(seconds, url=there.url + path, key=key))


def refusal_of(api: Api, path: str = "/x") -> str:
    with pytest.raises(click.ClickException) as caught:
        api.get(path)
    assert KEY not in caught.value.message
    return caught.value.message


def test_a_list_is_read_over_all_its_pages(there):
    there.answers["GET /users"] = [page(1, 2, cursor="c1"), page(cursor="c2"), page(3)]
    assert list(api_of(there).items("/users", search="zoë")) == [1, 2, 3]
    assert [asked.query.get("cursor") for asked in there.asked] == [None, "c1", "c2"]
    assert {asked.query["search"] for asked in there.asked} == {"zoë"}


def test_a_limit_ends_a_list_and_is_no_larger_than_a_page(there):
    there.answers["GET /users"] = [page(*range(500), cursor="c1"), page(*range(100), cursor="c2")]
    assert len(list(api_of(there).items("/users", 600))) == 600
    assert [asked.query["limit"] for asked in there.asked] == ["500", "100"]


def test_the_key_goes_as_a_bearer_and_a_post_has_an_idempotency_key(there):
    there.answers["POST /users"] = {}
    api_of(there).post("/users", {"name": "zoë"})
    (asked,) = there.asked
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert (len(asked.headers["idempotency-key"]), asked.body) == (32, {"name": "zoë"})


def test_a_path_of_the_url_comes_before_ours(there):
    refusal_of(api_of(there, path="/gateway"))
    assert there.asked[0].path == "/gateway/admin/api/v1/x"


def test_names_are_one_segment_of_a_path():
    assert one("/users", "a/b ü?") == "/users/a%2Fb%20%C3%BC%3F"


def test_an_answer_without_content_is_none(there):
    there.answers["DELETE /x"] = Answer(204)
    assert api_of(there).delete("/x") is None


def test_a_problem_is_said_with_what_is_wrong_where(there):
    errors = [{"pointer": "/limits/token_budget", "detail": "Expected `int` >= 1"}]
    there.answers["GET /x"] = problem(422, "invalid", "A value cannot be accepted", "No.", errors=errors, instance="r1")
    with pytest.raises(Refused) as caught:
        api_of(there).get("/x")
    assert caught.value.message.splitlines() == [
        "A value cannot be accepted: No.",
        "  /limits/token_budget: Expected `int` >= 1",
        "  (request r1)",
    ]
    assert (caught.value.code, caught.value.status, caught.value.exit_code) == ("invalid", 422, 1)


def test_what_is_said_there_does_not_steer_the_terminal_here(there):
    there.answers["GET /x"] = [
        problem(404, "not-found", "There is nothing here", "No \x1b[2J\u202e."),
        Answer(503, {"error": {"message": "\x9b2J"}}),
    ]
    assert (
        refusal_of(api_of(there)) == "There is nothing here: No \N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER}."
    )
    assert "\x9b" not in refusal_of(api_of(there))


def test_who_sent_no_key_is_told_how_and_who_may_not_how_to_find_out(there):
    there.answers["GET /x"] = problem(401, "not-authenticated", "Who you are is not known", "Sign in.")
    assert "use --key-file, or MRPROXY_KEY" in refusal_of(api_of(there, key=""))
    assert "--key-file" not in refusal_of(api_of(there))
    there.answers["GET /x"] = problem(403, "forbidden", "You may not do this", "This needs the permission users.read.")
    assert "users.read" in refusal_of(api_of(there))
    assert "`mrproxy whoami`" in refusal_of(api_of(there))


@pytest.mark.parametrize(
    ("answer", "words", "exit_code"),
    [
        (Answer(503, {"error": {"message": "the control plane is away"}}), "the control plane is away", 3),
        (Answer(502, b"<html>", {"Content-Type": "text/html"}), "no gateway of ours (status 502", 3),
        (Answer(404, {"error": {"message": "nothing"}}), "nothing", 1),
        (Answer(404, b"\xff"), "no gateway of ours (status 404", 1),
        (Answer(200, b"<html>", {"Content-Type": "text/html"}), "no JSON, but text/html", 1),
        (Answer(301, b"", {"Location": "https://elsewhere/"}), "sends us to https://elsewhere/", 1),
        (Answer(200, {"a": "b" * 100}, cut=20), "the answer broke off", 3),
        (Answer(hang_up=True), "closed connection without response", 3),
    ],
)
def test_whatever_answers_is_told_in_a_sentence(there, answer, words, exit_code):
    there.answers["GET /x"] = answer
    with pytest.raises(click.ClickException) as caught:
        api_of(there).get("/x")
    assert words in caught.value.message
    assert caught.value.exit_code == exit_code


def test_what_is_sent_and_not_answered_is_sent_once_more_with_the_same_idempotency_key(there):
    there.answers["POST /x"] = [Answer(hang_up=True), {"done": True}]
    assert api_of(there).post("/x") == {"done": True}
    first, second = there.asked
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]


def test_a_deletion_is_not_sent_twice(there):
    there.answers["DELETE /x"] = Answer(hang_up=True)
    with pytest.raises(Unreachable):
        api_of(there).delete("/x")
    assert len(there.asked) == 1


def test_who_does_not_answer_in_time_is_unreachable():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = Place(0.05, url=f"http://127.0.0.1:{silent.getsockname()[1]}", key=KEY)
        assert "no answer in time" in refusal_of(Api(place))


def test_nobody_there_is_unreachable_and_says_what_to_do(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    assert "Connection refused" in refusal_of(Api(Place(1, url=f"http://127.0.0.1:{port}", key=KEY)))
    here = refusal_of(Api(Place(1, directory=DataDirectory(tmp_path))))
    assert "No such file" in here
    assert "start one with `mrproxy serve`" in here


def test_tls_to_a_server_without_is_a_sentence(there):
    url = there.url.replace("http:", "https:")
    assert "no gateway answers at https://" in refusal_of(Api(Place(5, url=url, key=KEY)))


def test_a_certificate_is_believed_if_it_is_trusted(tmp_path, monkeypatch):
    certificate = make_certificate(tmp_path)
    with run_api(FakeApi({"GET /x": {"a": 1}}), certificate=certificate) as there:
        assert "certificate verify failed" in refusal_of(api_of(there))
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
        assert api_of(there).get("/x") == {"a": 1}
    assert len(there.asked) == 1


def test_an_export_comes_in_pieces_and_one_that_breaks_off_is_an_error(there):
    there.answers["GET /records/export"] = [Answer(200, b"x" * 100_000), Answer(200, b"x" * 100_000, cut=70_000)]
    assert sum(map(len, api_of(there).pieces("/records/export"))) == 100_000
    with pytest.raises(Unreachable, match="broke off"):
        list(api_of(there).pieces("/records/export"))


def test_an_entity_is_found_by_its_address_or_by_a_name_that_only_one_has(there):
    api = api_of(there)
    there.answers["GET /keys/k1"] = {"id": "k1"}
    assert api.found("/keys", "k1", search="k1") == {"id": "k1"}
    there.answers["GET /keys"] = page({"id": "k2", "name": "laptop"}, {"id": "k3", "name": "laptop 2"})
    assert api.found("/keys", "laptop")["id"] == "k2"
    with pytest.raises(Refused, match="There is no key 'nobody'"):
        api.found("/keys", "nobody")
    there.answers["GET /keys"] = page({"id": "k2", "name": "laptop"}, {"id": "k3", "name": "laptop"})
    with pytest.raises(Refused, match="2 keys are called 'laptop': use the id"):
        api.found("/keys", "laptop")


def test_a_name_with_a_slash_is_looked_for_in_the_list(there):
    there.answers["GET /users"] = page({"id": "u1", "name": "a/b"})
    assert api_of(there).found("/users", "a/b")["id"] == "u1"
    assert there.targets() == ["GET /users"]


def test_a_place_that_is_printed_shows_no_key():
    assert KEY not in repr(Place(1, url="https://h", key=KEY))
