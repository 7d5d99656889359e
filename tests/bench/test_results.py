import pytest

from bench.histogram import Histogram
from bench.results import decode_result, encode_result, metric_of

from .results_example import example


def test_a_result_survives_its_file():
    result = example()
    assert decode_result(encode_result(result)) == result
    assert result.metric("e2e").histogram().percentile(0.5) == result.metric("e2e").percentiles["p50"]
    assert result.metric("none") is None


def test_another_schema_is_refused():
    with pytest.raises(ValueError, match="schema"):
        decode_result(encode_result(example(schema="other/1")))
    with pytest.raises(ValueError, match="missing required field"):
        decode_result(b"{}")


def test_percentiles_that_the_count_cannot_carry_are_none():
    histogram = Histogram()
    histogram.record_all(range(500))
    metric = metric_of("x", "x", histogram)
    assert metric.percentiles["p95"] is not None
    assert metric.percentiles["p99"] is None
    assert metric_of("x", "x", Histogram()).percentiles["p50"] is None


def test_failures_are_summed():
    assert example(errors={"a": 2, "b": 3}).failed == 5
