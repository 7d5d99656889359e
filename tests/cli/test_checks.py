"""Shell. What `mrproxy doctor` finds on this machine."""

import os
import resource
from dataclasses import replace
from pathlib import Path

import pytest

from mrproxy.cli.checks import (
    MIB,
    Level,
    check_clock,
    check_directory,
    check_disk,
    check_journal,
    check_secret,
    check_snapshot,
    check_tls,
    judge_dates,
    judge_descriptors,
    judge_disk,
)
from mrproxy.clock import utc_now
from mrproxy.config import Settings
from mrproxy.link.snapshot import Snapshot, write
from mrproxy.provision import DataDirectory, open_data_directory, read_secret
from tests.fakes.certificate import make_certificate

OK, WARNING, ERROR = Level.OK, Level.WARNING, Level.ERROR
DAY = 86_400.0


@pytest.fixture
def directory(tmp_path: Path) -> DataDirectory:
    made = open_data_directory(str(tmp_path / "d"))
    read_secret(made)
    write(made.snapshot, Snapshot(generation=7, created_utc=1.0))
    return made


def test_a_directory_as_serve_makes_it_is_well(directory):
    checks = (check_directory, check_secret, check_snapshot, check_journal, check_disk)
    assert [check(directory).level for check in checks] == [OK] * 5
    assert check_clock(directory, utc_now()).level is OK
    assert list(directory.journal.iterdir()) == []


def test_what_is_not_there_yet_is_a_warning(tmp_path):
    empty = DataDirectory(tmp_path)
    assert [check(empty).level for check in (check_secret, check_snapshot, check_journal)] == [WARNING] * 3
    assert check_directory(DataDirectory(tmp_path / "typo")).level is ERROR


def test_a_directory_that_is_a_file_or_open_to_others_is_said(directory, tmp_path):
    (tmp_path / "file").touch()
    assert check_directory(DataDirectory(tmp_path / "file")).level is ERROR
    directory.root.chmod(0o755)
    found = check_directory(directory)
    assert (found.level, found.advice) == (WARNING, f"chmod 700 {directory.root}")


def test_a_secret_that_is_lost_cut_or_open_is_said(directory):
    directory.secret.chmod(0o644)
    assert check_secret(directory).level is WARNING
    directory.secret.write_bytes(b"x")
    assert "1 bytes instead of 32" in check_secret(directory).detail
    directory.secret.unlink()
    directory.keys.write_text("{}")
    assert check_secret(directory).level is ERROR


def test_a_damaged_snapshot_is_an_error(directory):
    directory.snapshot.write_text("{")
    assert check_snapshot(directory).level is ERROR


def test_a_journal_that_takes_nothing_is_an_error(directory, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mrproxy.cli.checks.os.write", full)
    found = check_journal(directory)
    assert (found.level, list(directory.journal.iterdir())) == (ERROR, [])
    assert "No space left" in found.detail


@pytest.mark.parametrize(
    ("free", "total", "inodes", "level"),
    [
        (50 * MIB, 10_000 * MIB, 10**6, ERROR),
        (300 * MIB, 100_000 * MIB, 10**6, WARNING),
        (300 * MIB, 1_000 * MIB, 10**6, OK),
        (5_000 * MIB, 1_000_000 * MIB, 10**6, OK),
        (5_000 * MIB, 10_000 * MIB, 10, ERROR),
    ],
)
def test_a_disk_is_judged_by_what_is_free(free, total, inodes, level):
    assert judge_disk(free, total, inodes).level is level


def test_a_clock_that_was_set_back_is_seen_by_the_files(directory):
    assert check_clock(directory, 0.0).level is ERROR
    now = utc_now()
    os.utime(directory.secret, (now + 3600, now + 3600))
    found = check_clock(directory, now)
    assert (found.level, "files are 3600 s newer" in found.detail) == (WARNING, True)


def test_a_low_limit_of_open_files_is_a_warning():
    levels = [judge_descriptors(hard, 12_000).level for hard in (1024, 12_000, resource.RLIM_INFINITY)]
    assert levels == [WARNING, OK, OK]


@pytest.mark.parametrize(
    ("begins", "ends", "level"), [(0, 100, OK), (0, 50, WARNING), (0, 40, ERROR), (60, 100, ERROR)]
)
def test_a_certificate_is_judged_by_its_dates(begins, ends, level):
    assert judge_dates("TLS", begins * DAY, ends * DAY, 45 * DAY).level is level


@pytest.mark.parametrize(("days", "level"), [(36_500, OK), (1, ERROR)])
def test_the_certificate_that_clients_get_is_read(tmp_path, days, level):
    cert, key = map(str, make_certificate(tmp_path, days=days))
    (found,) = check_tls(replace(Settings(), tls_cert=cert, tls_key=key), utc_now())
    assert (found.level, "good until" in found.detail) == (level, True)
    assert check_tls(replace(Settings(), tls_cert=cert), utc_now())[0].level is ERROR


def test_a_certificate_that_is_none_is_an_error(tmp_path):
    (tmp_path / "cert.pem").write_text("nothing")
    with_tls = replace(Settings(), tls_cert=str(tmp_path / "cert.pem"))
    assert [found.level for found in check_tls(with_tls, utc_now())] == [ERROR]
    assert check_tls(Settings(), utc_now()) == []
