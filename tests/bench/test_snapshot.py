"""The measurement of large snapshots, in small."""

import re

import pytest
from click.testing import CliRunner

from bench import snapshot
from mrproxy.link.snapshot import Managed

SECRET = b"s" * 32


@pytest.mark.slow
def test_load_memory_pauses_and_a_revocation_are_told():
    result = CliRunner().invoke(snapshot.main, ["--keys=300", "--backends=3", "--calm-seconds=0.2"])
    assert result.exit_code == 0, result.output
    assert re.search(
        r"300 keys, 3 backends: serves after [\d.]+ s, \d+ MB: -?[\d.]+ s and -?\d+ MB more", result.output
    )
    assert re.search(r"refused after [\d.]+ s; meanwhile: longest pause [\d.]+ ms \(mean [\d.]+ ms\)", result.output)


def test_revoking_takes_the_one_key_away():
    def digests(managed: Managed) -> set[str]:
        return {key.digest for key in managed.keys}

    whole = snapshot.managed_of(SECRET, 5, 2, "http://engine")
    less = snapshot.managed_of(SECRET, 5, 2, "http://engine", has_key=False)
    assert len(digests(whole) - digests(less)) == 1
    assert len(whole.users) == 5
    assert len(whole.backends) == 2
