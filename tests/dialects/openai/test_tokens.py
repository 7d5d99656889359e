"""Counts each way. Shapes: OpenAI API reference, llama.cpp tools/server/README.md, DeepSeek API reference (2026)."""

import msgspec
import pytest

from mrproxy.canonical.deltas import TokenReport
from mrproxy.dialects.openai.tokens import read_report, write_usage


def read(usage: bytes, timings: bytes = b"") -> TokenReport | None:
    return read_report(msgspec.Raw(usage), msgspec.Raw(timings))


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (b'{"prompt_tokens":11,"total_tokens":14,"completion_tokens":3}', TokenReport(11, 3)),
        (
            b'{"prompt_tokens":8,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":6,"audio_tokens":0,'
            b'"cache_write_tokens":2},"completion_tokens_details":{"reasoning_tokens":4,"audio_tokens":0}}',
            TokenReport(8, 5, 6, 2, 4),
        ),
        (b'{"prompt_tokens":8,"prompt_cache_hit_tokens":3}', TokenReport(8, None, 3)),
        (b'{"prompt_tokens":8,"prompt_tokens_details":null}', TokenReport(8)),
    ],
)
def test_counts_are_read(usage: bytes, expected: TokenReport) -> None:
    assert read(usage) == expected


@pytest.mark.parametrize(
    "usage", [b"", b"null", b"{}", b'{"prompt_tokens":-1}', b'{"prompt_tokens":"8"}', b'{"prompt_tokens":9e99}', b"[]"]
)
def test_no_count_is_made_up(usage: bytes) -> None:
    assert read(usage) is None


def test_llamacpps_times_become_nanoseconds() -> None:
    timings = b'{"cache_n":236,"prompt_n":1,"prompt_ms":30.958,"predicted_n":35,"predicted_ms":661.064}'
    assert read(b"null", timings) == TokenReport(prompt_ns=30_958_000, completion_ns=661_064_000)
    assert read(b'{"prompt_tokens":5}', b'{"prompt_ms":-1,"predicted_ms":1e300}') == TokenReport(5)


def test_what_was_counted_is_written() -> None:
    assert write_usage(TokenReport(8, 5, 6, 2, 4)) == {
        "prompt_tokens": 8,
        "completion_tokens": 5,
        "total_tokens": 13,
        "prompt_tokens_details": {"cached_tokens": 6, "cache_write_tokens": 2},
        "completion_tokens_details": {"reasoning_tokens": 4},
    }
    assert write_usage(TokenReport(8)) == {"prompt_tokens": 8, "completion_tokens": 0, "total_tokens": 8}
