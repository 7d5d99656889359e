"""Plain ints, and the view of them that others render."""

from mrproxy.canonical.exchange import Exchange, Usage, UsageState
from mrproxy.counters import Counters, Histogram


def test_a_histogram_counts_each_value_once_in_its_bucket() -> None:
    histogram = Histogram()
    for seconds in (0.0, 0.0005, 0.0006, 0.3, 1000.0):
        histogram.observe(seconds)
    view = histogram.view()
    counted = dict(zip([*view["bounds"], float("inf")], view["counts"], strict=True))
    assert {bound: count for bound, count in counted.items() if count} == {0.0005: 2, 0.001: 1, 0.5: 1, float("inf"): 1}
    assert view["sum"] == sum((0.0, 0.0005, 0.0006, 0.3, 1000.0))


def test_a_view_is_a_copy() -> None:
    histogram = Histogram()
    before = histogram.view()
    histogram.observe(1.0)
    assert sum(before["counts"]) == 0


def test_bounds_ascend() -> None:
    assert list(Histogram.bounds) == sorted(set(Histogram.bounds))


def exchange(status: int, usage: Usage | None) -> Exchange:
    done = Exchange(b"id-1", 10.0, "openai", "chat")
    done.model, done.backend, done.status = "m", "b", status
    done.first_byte_at = 10.5
    done.queue_seconds = 0.25
    done.body_bytes, done.answer_bytes, done.events = 100, 2000, 3
    done.usage = usage
    done.usage_state = UsageState.ABSENT if usage is None else UsageState.EXACT
    return done


def test_a_finished_request_adds_everything_once() -> None:
    counters = Counters()
    counters.count_exchange(exchange(200, Usage(7, None)), 12.0)
    counters.count_exchange(exchange(200, Usage(1, 4)), 12.0)
    counters.count_exchange(exchange(502, None), 12.0)
    assert counters.requests == {("openai", "m", "b", 200): 2, ("openai", "m", "b", 502): 1}
    assert counters.usage_states == {"exact": 2, "absent": 1}
    totals = counters.totals()
    assert (totals["prompt_tokens_total"], totals["completion_tokens_total"]) == (8, 4)
    assert (totals["bytes_in_total"], totals["bytes_out_total"], totals["relayed_events_total"]) == (300, 6000, 9)
    histograms = counters.histograms()
    assert [histograms[name]["sum"] for name in ("queue_wait_seconds", "ttft_seconds", "duration_seconds")] == [
        0.75,
        1.5,
        6.0,
    ]


def test_a_request_without_a_first_byte_has_no_time_to_it() -> None:
    counters = Counters()
    refused = exchange(503, None)
    refused.first_byte_at = None
    counters.count_exchange(refused, 12.0)
    assert sum(counters.ttft.counts) == 0
    assert sum(counters.duration.counts) == 1


def test_refusals_are_counted_by_code() -> None:
    counters = Counters()
    for code in ("queue_full", "queue_full", "invalid_key"):
        counters.count_refused(code)
    assert counters.refused == {"queue_full": 2, "invalid_key": 1}


def test_every_total_has_its_name_and_starts_at_nothing() -> None:
    totals = Counters().totals()
    assert all(name.endswith("_total") for name in totals)
    assert set(totals.values()) == {0}
