"""What a browser is given and what is taken from it."""

from werkzeug.datastructures import Headers

from mrproxy.control.signin.cookies import Kind
from mrproxy.control.signin.csrf import is_token_of
from mrproxy.control.signin.derived import derive_keys
from mrproxy.control.signin.entry import farewell, welcome
from mrproxy.control.signin.sessions import Opened
from mrproxy.control.signin.visitor import Visitor, visitor_of
from tests.control.signin.examples import a_session, a_user

KEYS = derive_keys(b"s" * 32)
SESSION = a_session()
OPENED = Opened(SESSION, a_user("Ada"), "token")


def visitor(cookies: str = "") -> Visitor:
    return visitor_of(Headers({"Cookie": cookies, "X-Forwarded-Proto": "https"}), KEYS, "auto")


def as_sent_back(lines: tuple[tuple[str, str], ...]) -> Visitor:
    return visitor("; ".join(line.partition(";")[0] for _, line in lines))


def test_a_browser_gets_a_session_its_proof_and_is_known() -> None:
    lines = welcome(OPENED, visitor())
    found = as_sent_back(lines)
    assert found.cookie(Kind.SESSION) == "token"
    assert is_token_of(found.cookie(Kind.CSRF) or "", KEYS, SESSION.id)
    assert found.device_of("ada") is not None
    assert ["Max-Age=600" in line for _, line in lines] == [True, True, False, False]


def test_a_device_keeps_its_id() -> None:
    first = as_sent_back(welcome(OPENED, visitor()))
    again = as_sent_back(welcome(Opened(a_session("b" * 64), OPENED.user, "another token"), first))
    assert again.device_of("ada") == first.device_of("ada")


def test_who_leaves_keeps_the_device() -> None:
    lines = [line for _, line in farewell(visitor())]
    assert all("Max-Age=0" in line for line in lines)
    assert {line.partition("=")[0] for line in lines} == {"__Host-mrproxy_session", "__Host-mrproxy_csrf"}
