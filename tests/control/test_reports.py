"""Readiness and states, from values alone."""

from typing import Any

import msgspec
import pytest

from mrproxy.control.reports import (
    BackendReport,
    HistogramReport,
    JournalLag,
    Silent,
    WorkerReport,
    backend_state,
    best_state,
    decode_report,
    losses_of,
    reasons_not_ready,
    warnings_of,
)
from mrproxy.storage.ingest import IngestStatistics
from tests.fakes.worker import report

CAUGHT_UP = JournalLag(0, 0.0)


def worker(**changes: Any) -> WorkerReport:
    return decode_report(msgspec.json.encode(report(**changes)))


def backend(**changes: Any) -> BackendReport:
    return msgspec.structs.replace(worker().backends[0], **changes)


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, "routable"),
        ({"breaker": "half_open"}, "half_open"),
        ({"breaker": "open"}, "open"),
        ({"breaker": "a word of tomorrow"}, "open"),
        ({"healthy": False, "breaker": "closed"}, "down"),
        ({"draining": True, "healthy": False}, "draining"),
    ],
)
def test_a_backend_has_one_state(changes: dict[str, Any], state: str) -> None:
    assert backend_state(backend(**changes)) == state


def test_what_one_worker_can_use_is_usable() -> None:
    assert best_state(["down", "half_open", "open"]) == "half_open"


def test_a_report_with_unknown_fields_is_read() -> None:
    assert worker(tomorrow={"a": 1}).worker == "0"


def test_a_histogram_without_its_last_count_is_refused() -> None:
    with pytest.raises(ValueError):
        HistogramReport(bounds=(1.0, 2.0), counts=(1, 2), sum=0.5)
    with pytest.raises(msgspec.DecodeError):
        worker(histograms={"ttft_seconds": {"bounds": [1.0], "counts": [1], "sum": 0.5}})


def test_ready_has_no_reasons() -> None:
    assert reasons_not_ready([worker()], CAUGHT_UP) == []


def test_no_worker_is_a_reason_and_a_dead_ones_socket_is_no_worker() -> None:
    assert reasons_not_ready([], CAUGHT_UP) == ["no worker is running"]
    assert reasons_not_ready([Silent("0", "refused", gone=True)], CAUGHT_UP) == ["no worker is running"]


def test_a_dead_worker_does_not_make_the_others_unready() -> None:
    assert reasons_not_ready([worker(), Silent("1", "refused", gone=True)], CAUGHT_UP) == []


def test_a_hung_worker_is_a_reason() -> None:
    reasons = reasons_not_ready([worker(), Silent("1", "no answer within 0.8 s")], CAUGHT_UP)
    assert reasons == ["worker 1: no answer within 0.8 s"]


def test_a_gateway_without_backends_says_so() -> None:
    assert reasons_not_ready([worker(backends=[])], CAUGHT_UP) == ["no backend is known"]


def test_backends_that_cannot_be_used_are_named_with_their_states() -> None:
    unusable = [{**spec, "healthy": False, "draining": spec["name"] == "gpu-b"} for spec in report()["backends"]]
    reasons = reasons_not_ready([worker(backends=unusable)], CAUGHT_UP)
    assert reasons == ["no backend is routable (gpu-a down, gpu-b draining)"]


def test_a_journal_read_late_is_a_reason() -> None:
    assert reasons_not_ready([worker()], JournalLag(5000, 9.9)) == []
    assert reasons_not_ready([worker()], JournalLag(5000, 61.0)) == ["the journal is read 61 s and 5000 bytes behind"]


def test_a_short_lag_of_the_database_is_no_warning() -> None:
    assert warnings_of(IngestStatistics(0, 5000, 20, 9.9, 0, 0, "")) == []
    assert warnings_of(IngestStatistics(0, 5000, 20, 10.1, 0, 0, "")) != []


def test_what_is_lost_is_said_of_all_workers_together() -> None:
    counters = {"journal_lost_total": 2, "captures_lost_total": 1}
    answers = (worker(counters=counters), worker(counters={"journal_lost_total": 3}), Silent("2", "gone"))
    assert losses_of(answers) == [
        "5 records are lost: the disk did not take them",
        "1 captured bodies are lost: the disk did not take them",
    ]
    assert losses_of((worker(),)) == []
