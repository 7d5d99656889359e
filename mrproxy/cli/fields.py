"""Pure. Fields of entities as options: `none` takes a value away, and what is not given is not sent.

An option's parameter is named as the field in the API's bodies; `limits__token_budget` is `token_budget` of `limits`.
Read next: docs/api.md (PATCH); `user.py`, for how it is used.
"""

import enum
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

import click

from mrproxy.cli.moments import seconds_in

F = TypeVar("F", bound=Callable[..., Any])
Option = Callable[[F], F]


class Null(enum.Enum):
    """JSON's null. None means here that an option was not given."""

    NULL = "none"


NULL = Null.NULL
AMOUNT = click.IntRange(min=1)
MILLIONTHS = 1_000_000


class OrNone(click.ParamType[Any]):
    """What the inner type takes, or `none`."""

    def __init__(self, inner: click.ParamType[Any]) -> None:
        self.inner = inner
        self.name = f"{inner.name}|none"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, str) and value.casefold() == NULL.value:
            return NULL
        return self.inner.convert(value, param, ctx)


class Names(click.ParamType[list[str]]):
    """Names with commas between them."""

    name = "name,name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[str]:
        return [each.strip() for each in str(value).split(",") if each.strip()]


class Pairs(click.ParamType[dict[str, str]]):
    """`a=b` pairs with commas between them."""

    name = "name=name,…"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, str]:
        pairs = [each.partition("=") for each in str(value).split(",") if each.strip()]
        if not all(left.strip() and right.strip() for left, _, right in pairs):
            self.fail(f"{value!r} is not PUBLIC=OWN, with commas between several", param, ctx)
        return {left.strip(): right.strip() for left, _, right in pairs}


class Lasting(click.ParamType[float]):
    """Seconds: 90s, 15m, 12h, 7d."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        seconds = 0.0 if str(value) == "0" else seconds_in(str(value))
        if seconds is None:
            self.fail(f"{value!r} is not 90s, 15m, 12h or 7d", param, ctx)
        return seconds


class Price(click.ParamType[int]):
    """In the currency for a million tokens; the API has millionths of it."""

    name = "price"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            amount = Decimal(str(value)) * MILLIONTHS
        except InvalidOperation:
            self.fail(f"{value!r} is no price, such as 0.15", param, ctx)
        if not amount.is_finite() or amount < 0 or amount != amount.to_integral_value():
            self.fail(f"{value!r} is no price: not negative, with at most six decimals", param, ctx)
        return int(amount)


def with_options(*options: Option[F]) -> Option[F]:
    """All of them, in this order in the help."""

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def limit_options(pot: str = "limits", flag: str = "", whose: str = "") -> tuple[Option[Any], ...]:
    """The five of a pot. `flag` stands in front of the flags' names."""
    amount, period = OrNone(AMOUNT), click.Choice(["lifetime", "monthly"])
    words = (
        ("requests-per-minute", amount, "Requests in a minute"),
        ("tokens-per-minute", amount, "Tokens in a minute"),
        ("concurrent-requests", amount, "Requests at the same time"),
        ("token-budget", amount, "Tokens, then no more"),
        ("budget-period", period, "What the budget is for"),
    )
    return tuple(
        click.option(f"--{flag}{name}", f"{pot}__{name.replace('-', '_')}", type=kind, help=f"{text}{whose}.")
        for name, kind, text in words
    )


def body_of(values: Mapping[str, object]) -> dict[str, Any]:
    """What was given, as the API has it."""
    body: dict[str, Any] = {}
    for name, value in values.items():
        if value is None:
            continue
        place = body
        *outer, last = name.split("__")
        for each in outer:
            place = place.setdefault(each, {})
        place[last] = None if value is NULL else value
    return body


def changes_of(values: Mapping[str, object]) -> dict[str, Any]:
    """The same, and at least one. Raises UsageError."""
    body = body_of(values)
    if not body:
        raise click.UsageError("nothing is to be changed: name at least one field")
    return body
