"""Pure. What a browser is given when somebody has signed in, and what is taken from it when he leaves."""

from mrproxy.control.signin import csrf
from mrproxy.control.signin.cookies import Header, Kind
from mrproxy.control.signin.sessions import Opened
from mrproxy.control.signin.throttle import DEVICE_SECONDS
from mrproxy.control.signin.visitor import Visitor, device_cookie
from mrproxy.storage.people.checks import fold


def welcome(opened: Opened, visitor: Visitor) -> tuple[Header, ...]:
    """The session, its CSRF token, and that this device is known: by an id of its own, made of the session's."""
    jar, session = visitor.jar, opened.session
    folded = fold(opened.user.name)
    lifetime_seconds = session.expires_utc - session.created_utc
    device = visitor.device_of(folded) or session.id[:32]
    return (
        jar.put(Kind.SESSION, opened.token, lifetime_seconds),
        jar.put(Kind.CSRF, csrf.token_of(jar.keys, session.id), lifetime_seconds),
        jar.put(Kind.DEVICE, device_cookie(jar.keys, device, folded), DEVICE_SECONDS),
        jar.drop(Kind.FORM),
    )


def farewell(visitor: Visitor) -> tuple[Header, ...]:
    """The device stays known."""
    return visitor.jar.drop(Kind.SESSION), visitor.jar.drop(Kind.CSRF)
