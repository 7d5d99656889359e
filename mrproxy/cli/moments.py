"""Shell. Moments and lengths of time as people write them: 2026-02-28, 2026-02-28T12:00, 90s, 15m, 12h, 7d."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from mrproxy.clock import utc_now

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_LENGTH = re.compile(r"(\d+(?:\.\d+)?)([smhd])")


class Moment(click.ParamType[float]):
    """Seconds since 1970: a date, a date and time (UTC unless it names a zone), or how long ago."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        seconds = seconds_in(str(value))
        if seconds is not None:
            return utc_now() - seconds
        try:
            return at(str(value)).timestamp()
        except ValueError:
            self.fail(f"{value!r} is neither a date (2026-02-28, 2026-02-28T12:00Z) nor a time ago (90m, 12h, 7d)")


class Until(click.ParamType[str]):
    """A moment to come, in RFC 3339: a date, a date and time (UTC unless it names a zone), or how long from now."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        seconds = seconds_in(str(value))
        try:
            if seconds is None:
                return at(str(value)).isoformat()
            return (datetime.fromtimestamp(utc_now(), UTC) + timedelta(seconds=seconds)).isoformat()
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is neither a date (2027-12-31, RFC 3339) nor a time from now (12h, 90d)")


def at(text: str) -> datetime:
    """Raises ValueError."""
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def rfc3339(utc: float | None) -> str | None:
    """As the API writes it."""
    return None if utc is None else datetime.fromtimestamp(utc, UTC).isoformat().replace("+00:00", "Z")


def seconds_in(text: str) -> float | None:
    """None for what is no length of time."""
    found = _LENGTH.fullmatch(text)
    return None if found is None else float(found[1]) * UNITS[found[2]]
