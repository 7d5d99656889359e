"""The status of several workers, from values alone."""

import json
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from mrproxy.control.publisher import PublisherStatistics
from mrproxy.control.reports import JournalLag, Silent, WorkerReport, decode_report
from mrproxy.control.status import Scene, summarize, without_userinfo
from mrproxy.storage.ingest import IngestStatistics
from tests.fakes.worker import report


def worker(**changes: Any) -> WorkerReport:
    return decode_report(msgspec.json.encode(report(**changes)))


SCENE = Scene("1.2.3", 61.04, (worker(),), JournalLag(10, 0.12345), 3)


def test_a_backend_seen_by_two_workers_is_one_line_with_both_views() -> None:
    other = report()["backends"]
    other[0].update(draining=True, resident=["m2"], ttft_seconds=0.5)
    status = summarize(replace(SCENE, answers=(worker(), worker(worker="1", backends=other))))
    line = status["backends"][0]
    assert len(status["backends"]) == 2
    assert (line["state"], line["workers"]) == ("routable", {"0": "routable", "1": "draining"})
    assert (line["in_flight"], line["max_concurrent"], line["ttft_seconds"]) == (4, 64, 0.5)
    assert line["resident"] == ["m1", "m2"]


def test_a_model_on_two_backends_is_listed_once() -> None:
    models = {model["name"]: model["backends"] for model in summarize(SCENE)["models"]}
    assert models == {"m1": ["gpu-a"], "m2": ["gpu-a", "gpu-b"], "m3": ["gpu-b"]}


def test_a_silent_worker_has_a_line_with_its_reason() -> None:
    status = summarize(replace(SCENE, answers=(Silent("0", "no answer within 0.8 s"),)))
    assert status["workers"][0]["error"] == "no answer within 0.8 s"
    assert (status["ready"], status["backends"]) == (False, [])


def test_status_is_json_and_rounds_its_seconds() -> None:
    status = json.loads(json.dumps(summarize(SCENE)))
    assert (status["version"], status["uptime_seconds"]) == ("1.2.3", 61.0)
    assert status["journal"] == {"lag_bytes": 10, "lag_seconds": 0.123}


def test_programs_for_mindrouter_find_their_words() -> None:
    status = summarize(replace(SCENE, answers=(worker(), worker(worker="1")), now_utc=1_800_000_000.25))
    assert (status["service"], status["timestamp"]) == ("mrproxy", "2027-01-15T08:00:00.250000+00:00")
    queue = status["queue"]
    assert queue["total"] == queue["waiting"] + queue["running"] == status["waiting"] + status["in_flight"]
    assert queue["average_wait_seconds"] >= 0
    assert summarize(replace(SCENE, answers=()))["queue"]["average_wait_seconds"] == 0.0


def test_a_backend_shows_the_version_that_a_worker_has_seen() -> None:
    seen = report()["backends"]
    seen[1].update(version="0.11.0")
    lines = summarize(replace(SCENE, answers=(worker(), worker(worker="1", backends=seen))))["backends"]
    assert [line["version"] for line in lines] == [None, "0.11.0"]


def test_a_database_that_lags_or_fails_is_a_warning_and_leaves_the_gateway_ready() -> None:
    behind = IngestStatistics(70, 1000, 4, 12.5, 1, 2, "full")
    status = summarize(replace(SCENE, storage=behind))
    assert (status["ready"], status["reasons"]) == (True, [])
    assert status["warnings"] == [
        "the database is full",
        "the table of records is 12 s and about 4 records behind the journal",
    ]
    assert status["storage"] == {"lag_bytes": 1000, "lag_records": 4, "lag_seconds": 12.5, "problem": "full"}


def test_what_is_administered_and_not_in_force_is_a_warning_and_leaves_the_gateway_ready() -> None:
    publisher = PublisherStatistics("unavailable", 7, 41, 1_800_000_000.25, ("gpu-a",), False)
    database = IngestStatistics(70, 0, 0, 0.0, 0, 0, "")
    status = summarize(replace(SCENE, storage=database, publisher=publisher))
    assert (status["ready"], status["warnings"]) == (
        True,
        [
            "changes are not published: the database is unavailable",
            "the API keys of backends cannot be decrypted, set them again: gpu-a",
            "the audit log is not what it was: see `mrproxy audit verify`",
        ],
    )
    assert status["publisher"] == {
        "problem": "unavailable",
        "generation": 7,
        "changes": 41,
        "published_utc": "2027-01-15T08:00:00.250000+00:00",
        "unreadable_backends": ["gpu-a"],
        "is_audit_log_whole": False,
    }


def test_a_publisher_without_problems_is_no_warning() -> None:
    publisher = PublisherStatistics("", 0, 0, 0.0, (), True)
    status = summarize(replace(SCENE, storage=IngestStatistics(0, 0, 0, 0.0, 0, 0, ""), publisher=publisher))
    assert (status["warnings"], status["publisher"] and status["publisher"]["published_utc"]) == ([], None)
    assert summarize(SCENE)["publisher"] is None


def test_without_a_database_the_gateway_is_ready_with_a_warning() -> None:
    status = summarize(SCENE)
    assert (status["ready"], status["warnings"], status["storage"]) == (True, ["there is no database"], None)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://127.0.0.1:9001", "http://127.0.0.1:9001"),
        ("http://user:p%40ss@host:1/v1", "http://host:1/v1"),
        ("https://token@host/v1?api_key=sk-1", "https://host/v1"),
        ("http://[::1]:80", "http://[::1]:80"),
    ],
)
def test_a_shown_url_carries_no_credentials(url: str, shown: str) -> None:
    assert without_userinfo(url) == shown
