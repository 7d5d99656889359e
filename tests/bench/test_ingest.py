"""The measurement of ingestion, in small."""

import re

import pytest
from click.testing import CliRunner

from bench import ingest


@pytest.mark.slow
def test_all_records_arrive_and_a_rate_is_told():
    result = CliRunner().invoke(ingest.main, ["--records=50"])
    assert result.exit_code == 0, result.output
    assert re.search(r"SQLite: 50 records in [\d.]+ s, \d+/s, \d+ µs CPU each", result.output)


def test_the_same_number_gives_the_same_records_every_time():
    chances = [ingest.random.Random(0) for _ in range(2)]
    assert ingest.example(chances[0], 1) == ingest.example(chances[1], 1)
