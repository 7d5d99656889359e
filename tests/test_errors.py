"""Pure. The tree of errors: every code has a status, every refusal says when to come back."""

import pytest

from mrproxy.errors import BackendError, ClientError, Code, Phase, ProxyError, Refused, status_of


@pytest.mark.parametrize("code", Code)
def test_every_code_has_an_error_status(code):
    assert 400 <= status_of(code) <= 599
    assert ProxyError(code, "x").status == status_of(code)


def test_codes_are_stable_lower_case_words():
    assert all(code.value == code.value.lower() and " " not in code.value for code in Code)
    assert len({code.value for code in Code}) == len(Code)


@pytest.mark.parametrize("code", [code for code in Code if status_of(code) in (429, 503)])
def test_who_is_sent_away_for_now_is_told_for_how_long(code):
    assert Refused(code, "x").retry_after_seconds == 1.0
    assert Refused(code, "x", retry_after_seconds=7).retry_after_seconds == 7


@pytest.mark.parametrize("code", [code for code in Code if status_of(code) not in (429, 503)])
def test_what_waiting_does_not_mend_has_no_retry_after(code):
    assert Refused(code, "x").retry_after_seconds is None


def test_errors_carry_what_dialects_word():
    error = ClientError(Code.INVALID_FIELD, "no such size", param="size", closes=True, headers=((b"a", b"b"),))
    assert (str(error), error.message, error.param, error.closes) == ("no such size", "no such size", "size", True)
    assert error.headers == ((b"a", b"b"),)


def test_a_backend_error_says_how_far_the_attempt_had_come():
    error = BackendError(Code.BACKEND_TIMEOUT, "late", phase=Phase.FIRST_BYTE, retryable=True)
    assert (error.phase, error.retryable, error.status) == (Phase.FIRST_BYTE, True, 504)


def test_the_tree_is_what_its_module_draws():
    assert {ClientError, Refused, BackendError} == set(ProxyError.__subclasses__())
