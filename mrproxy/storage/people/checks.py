"""Pure. What a value must be before it meets a database. Raises Invalid with the field's name.

Texts are bounded, without NUL (PostgreSQL has none) and without halves of surrogate pairs (UTF-8 has none). Numbers
fit their columns. Names are seen by people, in lists and logs: no character in them is invisible or turns the line
around, and none is unassigned, whose other case this version could not know.
"""

import ipaddress
import math
import unicodedata
from collections.abc import Callable, Mapping

from mrproxy.link.snapshot import Limits
from mrproxy.storage.people.errors import Invalid

MAX_NAME_CHARACTERS = 128
MAX_TEXT_CHARACTERS = 10_000
MAX_SEARCH_CHARACTERS = 200  # SQLite refuses patterns of more than 50,000 bytes
MAX_NAMES = 1_000
MAX_WEIGHT = 1_000_000
MAX_AMOUNT = 2**63 - 1
MAX_DAYS = 36_500
MAX_INTEGER = 2**31 - 1
PERIODS = ("lifetime", "monthly")
# Control, format, surrogate, private, unassigned; line and paragraph separators.
UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def fold(name: str) -> str:
    """Names that differ in case or width only become the same. Twice, since each step can undo the other."""
    for _ in range(2):
        name = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return name


def clean(text: str, limit: int = 1_000) -> str:
    """What a client sent, to be looked up or kept as a note: no database fails over it."""
    return text[:limit].replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


def check_text(field: str, value: object, limit: int = MAX_TEXT_CHARACTERS) -> str:
    if not isinstance(value, str):
        raise Invalid(field, "must be a text")
    if len(value) > limit:
        raise Invalid(field, f"must not be longer than {limit} characters")
    if "\0" in value or any("\ud800" <= each <= "\udfff" for each in value):
        raise Invalid(field, "must be valid Unicode without NUL")
    return value


def check_secret(field: str, value: object) -> str | None:
    """A key for somebody else's door: it becomes a header's value. An empty one is none."""
    secret = check_text(field, value, 4096).strip()
    if any(not "!" <= each <= "~" for each in secret):
        raise Invalid(field, "must be visible ASCII")
    return secret or None


def check_name(field: str, value: object) -> str:
    """In NFC: how an accent was typed makes no other name."""
    name = unicodedata.normalize("NFC", check_text(field, value, MAX_NAME_CHARACTERS))
    if not name or name != name.strip():
        raise Invalid(field, "must not be empty or begin or end with a blank")
    if any(unicodedata.category(each) in UNSEEN for each in name):
        raise Invalid(field, "must not have characters that nobody can see")
    return name


def check_email(field: str, value: object) -> str | None:
    """Only what makes it no address at all is refused: whether it is one, the mail will tell (RFC 5321 §4.5.3.1)."""
    if value is None or value == "":
        return None
    email = check_text(field, value, 254)
    local, _, domain = email.rpartition("@")
    if not local or not domain or any(each.isspace() or unicodedata.category(each) in UNSEEN for each in email):
        raise Invalid(field, "is no mail address")
    return email


def check_flag(field: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise Invalid(field, "must be true or false")
    return value


def check_count(field: str, value: object, minimum: int = 1, maximum: int = MAX_INTEGER) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise Invalid(field, "must be a whole number")
    if not minimum <= value <= maximum:
        raise Invalid(field, f"must be from {minimum} to {maximum}")
    return value


def check_amount(field: str, value: object) -> int:
    return check_count(field, value, 1, MAX_AMOUNT)


def check_weight(field: str, value: object) -> int:
    return check_count(field, value, 1, MAX_WEIGHT)


def check_number(field: str, value: object, minimum: float = 0.0) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Invalid(field, "must be a number")
    if value < minimum:
        raise Invalid(field, f"must be at least {minimum:g}")
    return float(value)


def check_moment(field: str, value: object) -> float:
    """Seconds since 1970, up to the year 9999, which is as far as dates can be written."""
    moment = check_number(field, value)
    if moment > 253_402_300_799:
        raise Invalid(field, "is too late a time")
    return moment


def check_period(field: str, value: object) -> str:
    if value not in PERIODS:
        raise Invalid(field, f"must be one of {', '.join(PERIODS)}")
    return str(value)


def check_names(field: str, value: object) -> tuple[str, ...]:
    """A list of names, each once, in its order."""
    if not isinstance(value, list | tuple) or len(value) > MAX_NAMES:
        raise Invalid(field, f"must be a list of at most {MAX_NAMES} names")
    names = [check_text(field, each, 512) for each in value]
    if not all(names):
        raise Invalid(field, "must not have empty names")
    return tuple(dict.fromkeys(names))


def check_networks(field: str, value: object) -> tuple[str, ...]:
    """Addresses and networks, in CIDR as Python writes it."""
    try:
        return tuple(dict.fromkeys(str(ipaddress.ip_network(each)) for each in check_names(field, value)))
    except ValueError as exc:
        raise Invalid(field, f"must be networks such as 192.0.2.0/24: {exc}") from exc


def check_scopes(field: str, value: object) -> tuple[str, ...]:
    """At least one; a key that may do nothing is better not made. Which there are is for those who grant them."""
    scopes = check_names(field, value)
    if not scopes or any(not set(each) <= SCOPE_CHARACTERS for each in scopes):
        raise Invalid(field, "must be at least one, of letters, digits and . : _ -")
    return scopes


SCOPE_CHARACTERS = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.:_-*")

Check = Callable[[str, object], object]


def or_none(check: Check) -> Check:
    return lambda field, value: None if value is None else check(field, value)


LIMIT_CHECKS: dict[str, Check] = {
    **{name: or_none(check_amount) for name in Limits.__struct_fields__ if name != "budget_period"},
    "budget_period": check_period,
}


def check_all(values: Mapping[str, object], checks: Mapping[str, Check]) -> dict[str, object]:
    """Each value as it is to be written. A field without a check is no field."""
    for field in values:
        if field not in checks:
            raise Invalid(field, "cannot be set")
    return {field: checks[field](field, value) for field, value in values.items()}
