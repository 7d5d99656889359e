"""Pure. Options that become bodies."""

import click
import pytest

from mrproxy.cli.fields import AMOUNT, NULL, Lasting, Names, OrNone, Pairs, Price, body_of, changes_of


def test_what_was_not_given_is_not_sent_and_none_is_null():
    values = {"a": None, "b": NULL, "c": 0, "d": [], "limits__x": 1, "limits__y": NULL}
    assert body_of(values) == {"b": None, "c": 0, "d": [], "limits": {"x": 1, "y": None}}


def test_a_change_names_something():
    with pytest.raises(click.UsageError):
        changes_of({"a": None})


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (OrNone(AMOUNT), "None", NULL),
        (OrNone(AMOUNT), "3", 3),
        (Names(), "a, b,,", ["a", "b"]),
        (Pairs(), "a=b, c=d=e", {"a": "b", "c": "d=e"}),
        (Lasting(), "24h", 86_400.0),
        (Lasting(), "0", 0.0),
        (Price(), "0.15", 150_000),
        (Price(), "0", 0),
    ],
)
def test_texts_are_values(kind, text, value):
    assert kind.convert(text, None, None) == value


@pytest.mark.parametrize(
    ("kind", "text"), [(OrNone(AMOUNT), "0"), (Pairs(), "a"), (Pairs(), "=b"), (Lasting(), "1 day"), (Price(), "x")]
)
def test_other_texts_are_usage_errors(kind, text):
    with pytest.raises(click.BadParameter):
        kind.convert(text, None, None)
