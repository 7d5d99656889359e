"""What is believed of a trace context, and which ids follow from it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.link.trace import (
    checked_traceparent,
    client_span_id,
    context_of,
    server_span_id,
    traceparent_onwards,
)

# The example of the Recommendation, §3.2.4.
EXAMPLE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_the_recommendations_example_is_believed():
    assert checked_traceparent(EXAMPLE.encode()) == EXAMPLE
    context = context_of(EXAMPLE, "any")
    assert context == (0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7, True)


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"00",
        EXAMPLE.upper().encode(),
        b"ff" + EXAMPLE[2:].encode(),
        EXAMPLE.encode() + b"-more",
        b"00-" + b"0" * 32 + b"-00f067aa0ba902b7-01",
        b"00-4bf92f3577b34da6a3ce929d0e0e4736-" + b"0" * 16 + b"-01",
        b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0g",
        b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\nx: y",
    ],
)
def test_a_broken_one_is_ignored(broken):
    assert checked_traceparent(broken) == ""


def test_a_later_version_may_say_more():
    assert checked_traceparent(b"cc" + EXAMPLE[2:].encode() + b"-what-the-future-will-be-like") == "cc" + EXAMPLE[2:]
    assert checked_traceparent(None) == ""


def test_what_is_not_sampled_stays_so():
    assert not context_of(EXAMPLE[:-2] + "00", "any").is_sampled


def test_without_one_the_request_names_the_trace():
    assert context_of("", "0af7651916cd43dd8448eb211c80319c") == (0x0AF7651916CD43DD8448EB211C80319C, 0, True)
    assert context_of("", "0" * 32).trace_id != 0
    assert context_of("", "my own id").trace_id == context_of("", "my own id").trace_id


@given(st.text(max_size=40))
def test_ids_are_never_zero_and_differ_from_each_other(request_id):
    server, client = server_span_id("", request_id), client_span_id("", request_id)
    assert 0 < server < 2**64
    assert 0 < client < 2**64
    assert server != client
    assert 0 < context_of("", request_id).trace_id < 2**128


def test_the_backend_is_told_the_span_that_will_be_its_parent():
    onwards = traceparent_onwards(EXAMPLE, "r1")
    assert checked_traceparent(onwards.encode()) == onwards
    assert context_of(onwards, "r1") == (context_of(EXAMPLE, "").trace_id, client_span_id(EXAMPLE, "r1"), True)
