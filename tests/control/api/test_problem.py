"""RFC 9457 bodies, and the headers that belong to a status."""

import json

import pytest

from mrproxy.control.api.problem import CODES, Detail, Problem, problem_json, problem_of_status


def test_a_problem_says_what_where_and_in_which_request():
    body, content_type = problem_json(Problem("invalid", "No.", errors=(Detail("/name", "too long"),)), "r-1")
    assert content_type == "application/problem+json"
    assert json.loads(body) == {
        "type": "urn:mrproxy:problem:invalid",
        "title": "A value cannot be accepted",
        "status": 422,
        "detail": "No.",
        "instance": "r-1",
        "errors": [{"pointer": "/name", "detail": "too long"}],
    }


@pytest.mark.parametrize("code", CODES)
def test_every_401_says_how_to_sign_in_and_nothing_else_does(code):
    headers = dict(Problem(code, "No.").headers)
    assert ("WWW-Authenticate" in headers) == (CODES[code][0] == 401)


def test_when_to_come_back_is_whole_seconds_and_never_at_once():
    assert dict(Problem("too-many", "No.", retry_seconds=0.2).headers) == {"Retry-After": "1"}
    assert dict(Problem("too-many", "No.", retry_seconds=7.4).headers) == {"Retry-After": "7"}


@pytest.mark.parametrize("status", [400, 404, 405, 408, 413, 415, 500])
def test_what_the_server_refuses_keeps_its_status(status):
    assert problem_of_status(status, "No.").status == status


def test_a_status_without_a_code_of_its_own_is_the_callers_fault_or_ours():
    assert (problem_of_status(418, "No.").status, problem_of_status(501, "No.").status) == (400, 500)
