"""Pure. Whether a request that changes something was meant by the person whose cookie it carries.

A browser sends cookies along with whatever a foreign page makes it ask. Two independent signs are wanted:

1. Where it comes from: `Sec-Fetch-Site`, which scripts cannot set, says `same-origin` (or `none`: typed by hand); a
   browser without it sends `Origin`, whose host must be the one that was asked. `SameSite=Lax` stands before that.
   (`Origin: null` is also what a page under `Referrer-Policy: no-referrer` sends; Fetch §3.2. Ours have `same-origin`.)
2. A token that only a page of ours can know: a MAC over the session's id, so it needs no table and is worthless with
   another session. It is in a cookie that scripts of ours can read, and is repeated in a header or a form's field.

Keys and tokens in a header need neither: no browser sends these by itself.
Sources: OWASP Cross-Site Request Forgery Prevention (2026-02); W3C Fetch Metadata §2.3; RFC 6454 §7.
"""

from urllib.parse import urlsplit

from werkzeug.datastructures import Headers

from mrproxy.control.signin.derived import DerivedKeys, is_tag, tag

HEADER = "X-CSRF-Token"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def token_of(keys: DerivedKeys, session: str) -> str:
    return tag(keys.csrf, "session", session)


def form_token_of(keys: DerivedKeys, nonce: str) -> str:
    """Of a form that is shown to nobody in particular; `nonce` is in its cookie."""
    return tag(keys.csrf, "form", nonce)


def is_token_of(found: str, keys: DerivedKeys, session: str) -> bool:
    return is_tag(found, keys.csrf, "session", session)


def is_form_token_of(found: str, keys: DerivedKeys, nonce: str) -> bool:
    return is_tag(found, keys.csrf, "form", nonce)


def is_from_here(headers: Headers) -> bool:
    """The first sign. Programs send none of these, and browsers do."""
    site, origin, referer = (headers.get(name) for name in ("Sec-Fetch-Site", "Origin", "Referer"))
    host = headers.get("Host", "")
    if site is not None:
        is_ours = site.strip().lower() in ("same-origin", "none")
        return is_ours and (origin in (None, "null") or is_own_host(origin or "", host))
    if origin is not None:
        return is_own_host(origin, host)
    return referer is None or is_own_host(referer, host)


def is_own_host(url: str, host: str) -> bool:
    """Same host and port. The scheme is not looked at: a proxy before us may have ended TLS. `null` is no host."""
    try:
        parts = urlsplit(url)
        asked = urlsplit(f"{parts.scheme}://{host}")
        same_port = (parts.port or default_port(parts.scheme)) == (asked.port or default_port(parts.scheme))
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.hostname == asked.hostname and same_port


def default_port(scheme: str) -> int:
    return 443 if scheme == "https" else 80
