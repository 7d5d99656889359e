"""Pure. Who stands at the door, as far as the request tells: address, browser, what its cookies say.

`X-Forwarded-For` and `X-Forwarded-Proto` are the front door's own words (mrproxy/forwarding.py). Without them the
request came by the control socket, from the owner of the data directory.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from werkzeug.datastructures import Headers

from mrproxy.control.api.actor import Actor, anonymous
from mrproxy.control.signin.cookies import Jar, Kind, session_id
from mrproxy.control.signin.derived import DerivedKeys, is_tag, tag


@dataclass(frozen=True, slots=True)
class Visitor:
    """`cookies` as they were sent, `jar` to read and write them."""

    address: str
    user_agent: str
    request_id: str
    jar: Jar
    cookies: Mapping[str, str]

    @property
    def actor(self) -> Actor:
        """Before we know better."""
        return anonymous(self.address, self.request_id)

    def cookie(self, kind: Kind) -> str | None:
        return self.jar.read(kind, self.cookies)

    @property
    def cookie_session(self) -> str | None:
        """The id of the session that its cookie names; whether that is good, the database knows."""
        token = self.cookie(Kind.SESSION)
        return None if token is None else session_id(self.jar.keys, token)

    def device_of(self, folded_name: str) -> str | None:
        """The device's id, if this user has signed in on it before."""
        nonce, _, proof = (self.cookie(Kind.DEVICE) or "").partition("~")
        is_known = bool(nonce) and is_tag(proof, self.jar.keys.device, nonce, folded_name)
        return nonce if is_known else None


def device_cookie(keys: DerivedKeys, nonce: str, folded_name: str) -> str:
    """Does not tell the name to whoever reads it."""
    return f"{nonce}~{tag(keys.device, nonce, folded_name)}"


def visitor_of(headers: Headers, keys: DerivedKeys, cookie_secure: str) -> Visitor:
    is_tls = headers.get("X-Forwarded-Proto", "") == "https"
    is_secure = is_tls if cookie_secure == "auto" else cookie_secure == "always"
    return Visitor(
        address=headers.get("X-Forwarded-For", ""),
        user_agent=headers.get("User-Agent", ""),
        request_id=headers.get("X-Request-Id", ""),
        jar=Jar(keys, is_secure),
        cookies=cookies_of(headers.get("Cookie", "")),
    )


def cookies_of(line: str) -> dict[str, str]:
    """Name → value. Of a name that is there twice the first: browsers send the more specific path first."""
    found: dict[str, str] = {}
    for each in line.split(";"):
        name, _, value = each.strip().partition("=")
        found.setdefault(name, value.strip().strip('"'))
    return found
