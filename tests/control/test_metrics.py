"""Prometheus text, parsed back by its own parser."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from mrproxy.control.metrics import cumulate, render_metrics
from mrproxy.control.publisher import PublisherStatistics
from mrproxy.control.reports import HistogramReport, JournalLag, Silent, WorkerReport, decode_report
from mrproxy.control.status import Scene
from mrproxy.counters import Counters
from mrproxy.storage.ingest import IngestStatistics
from tests.fakes.worker import report


def worker(**changes: Any) -> WorkerReport:
    return decode_report(msgspec.json.encode(report(**changes)))


STORAGE = IngestStatistics(70, 1000, 4, 12.5, 1, 2, "full")
SCENE = Scene("1.2.3", 61.0, (worker(), Silent("1", "hung")), JournalLag(10, 0.5), 3, STORAGE)


def samples(scene: Scene) -> dict[tuple[str, ...], float]:
    """{(name, label values in the order of the labels' names…): value}"""
    body, _ = render_metrics(scene, "")
    return {
        (sample.name, *(sample.labels[name] for name in sorted(sample.labels))): sample.value
        for family in parse(body.decode())
        for sample in family.samples
    }


def test_every_name_has_the_prefix_and_a_help_line() -> None:
    body, content_type = render_metrics(SCENE, "")
    assert content_type.startswith("text/plain; version=0.0.4")
    families = list(parse(body.decode()))
    assert all(family.name.startswith("mrproxy_") and family.documentation for family in families)
    assert len({family.name for family in families}) == len(families)


def test_units_are_in_the_names() -> None:
    names = {family.name for family in parse(render_metrics(SCENE, "")[0].decode())}
    assert {"mrproxy_ttft_seconds", "mrproxy_journal_lag_bytes", "mrproxy_event_loop_lag_seconds"} <= names


def test_a_silent_worker_is_down_and_the_others_are_up() -> None:
    found = samples(SCENE)
    assert (found["mrproxy_worker_up", "0"], found["mrproxy_worker_up", "1"]) == (1, 0)


def test_the_lag_of_the_database_is_exported_and_whether_it_answers() -> None:
    found = samples(SCENE)
    names = ("database_up", "records_stored_total", "storage_lag_bytes", "storage_lag_records", "storage_lag_seconds")
    assert [found[(f"mrproxy_{name}",)] for name in names] == [0, 70, 1000, 4, 12.5]
    assert samples(replace(SCENE, storage=replace(STORAGE, problem="")))["mrproxy_database_up",] == 1
    assert ("mrproxy_database_up",) not in samples(replace(SCENE, storage=None))


def test_whether_what_is_administered_is_in_force_is_exported() -> None:
    publisher = PublisherStatistics("", 7, 41, 1_800_000_000.5, ("gpu-a", "gpu-b"), True)
    found = samples(replace(SCENE, publisher=publisher))
    names = ("publisher_up", "changes_published_total", "published_generation", "published_timestamp_seconds")
    assert [found[(f"mrproxy_{name}",)] for name in names] == [1, 41, 7, 1_800_000_000.5]
    assert (found["mrproxy_backend_keys_unreadable",], found["mrproxy_audit_log_whole",]) == (2, 1)
    broken = replace(publisher, problem="unavailable", is_audit_log_whole=False)
    found = samples(replace(SCENE, publisher=broken))
    assert (found["mrproxy_publisher_up",], found["mrproxy_audit_log_whole",]) == (0, 0)
    assert ("mrproxy_publisher_up",) not in samples(SCENE)


def test_two_workers_keep_their_counts_apart() -> None:
    found = samples(replace(SCENE, answers=(worker(), worker(worker="1", refused={"invalid_key": 9}))))
    assert found["mrproxy_refused_total", "invalid_key", "0"] == 4
    assert found["mrproxy_refused_total", "invalid_key", "1"] == 9
    assert found["mrproxy_usage_total", "exact", "0"] == 6


def test_a_backend_is_in_exactly_one_state() -> None:
    found = samples(SCENE)
    for backend, state in (("gpu-a", "routable"), ("gpu-b", "down")):
        set_states = [key[2] for key, value in found.items() if key[:2] == ("mrproxy_backend_state", backend) and value]
        assert set_states == [state]


def test_openmetrics_is_valid_where_asked_for() -> None:
    body, content_type = render_metrics(SCENE, "application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert content_type.startswith("application/openmetrics-text")
    assert list(parse_openmetrics(body.decode()))


def test_nothing_counted_yet_is_valid() -> None:
    body, _ = render_metrics(Scene("0", 0.0, (), JournalLag(0, 0.0), 0), "")
    assert list(parse(body.decode()))


def test_the_workers_own_counters_are_all_exported() -> None:
    counters = Counters()
    counters.requests["openai", "m", "b", 200] = 1
    counters.ttft.observe(0.3)
    histograms = {name: msgspec.convert(view, HistogramReport) for name, view in counters.histograms().items()}
    own = msgspec.structs.replace(worker(), histograms=histograms, counters=counters.totals())
    found = samples(replace(SCENE, answers=(own,)))
    assert found["mrproxy_ttft_seconds_bucket", "0.5", "0"] == 1
    assert found["mrproxy_ttft_seconds_bucket", "0.25", "0"] == 0
    assert all((f"mrproxy_{name}", "0") in found for name in counters.totals())


def test_buckets_are_cumulative_and_end_at_infinity() -> None:
    assert cumulate(HistogramReport((0.5, 2.0), (3, 0, 4), 9.0)) == [("0.5", 3), ("2.0", 3), ("+Inf", 7)]


@settings(max_examples=50, deadline=None)
@given(st.text(), st.text())
def test_any_model_name_survives_the_text_format(model: str, backend: str) -> None:
    row = (("openai", model, backend, 200, 1),)
    scene = replace(SCENE, answers=(msgspec.structs.replace(worker(), requests=row),))
    body, _ = render_metrics(scene, "")
    assert b"mrproxy_requests_total{" in body
    if not set(model + backend) & set('\\\n\r"\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029'):
        assert samples(scene)["mrproxy_requests_total", backend, "openai", model, "200", "0"] == 1


STRANGE = [
    "",
    "*/*",
    "text/html",
    "text/plain;version=1.0.0",
    ";;;,,",
    "text/plain; version=abc",
    "text/plain;version=1.x",
]


@pytest.mark.parametrize("accept", [*STRANGE, "application/openmetrics-text; version=9999999999.x"])
def test_any_accept_header_gets_an_answer(accept: str) -> None:
    assert render_metrics(SCENE, accept)[0]
