"""Anthropic's usage and OpenAI's sense of it."""

import msgspec
import pytest

from mrproxy.canonical.deltas import TokenReport
from mrproxy.dialects.anthropic.counts import Counts, OutputDetails, counts_of, read_counts


def test_a_prompt_is_what_was_read_written_and_neither() -> None:
    counts = read_counts(
        msgspec.Raw(
            b'{"input_tokens":5,"output_tokens":3,"cache_read_input_tokens":2,"cache_creation_input_tokens":1,'
            b'"output_tokens_details":{"thinking_tokens":2},"service_tier":"standard"}'
        )
    )
    assert counts.report() == TokenReport(8, 3, 2, 1, 2)
    assert counts_of(counts.report()) == counts


def test_no_prompt_has_no_tokens() -> None:
    assert Counts(0, 3, 0, 0).prompt_tokens is None
    assert Counts(0, 3, 7, 0).prompt_tokens == 7


def test_later_counts_replace_earlier_ones_but_zeros_do_not() -> None:
    counts = Counts(5, None, 2)
    counts.merge(Counts(0, 0, None))
    assert counts == Counts(5, 0, 2)
    counts.merge(Counts(6, 9, 3, 0, OutputDetails(1)))
    assert counts == Counts(6, 9, 3, 0, OutputDetails(1))


@pytest.mark.parametrize(
    "usage", [b"", b"null", b"[]", b'{"input_tokens":-1}', b'{"input_tokens":"5"}', b'{"input_tokens":9e99}', b"{\xff"]
)
def test_a_broken_usage_says_nothing(usage: bytes) -> None:
    assert read_counts(msgspec.Raw(usage)) == Counts()


def test_what_the_engine_did_not_say_is_zero_where_the_sdk_needs_a_number() -> None:
    assert msgspec.json.encode(counts_of(TokenReport())) == b'{"input_tokens":0,"output_tokens":0}'
    assert counts_of(TokenReport(5, 1, 9)) == Counts(0, 1, 9)
