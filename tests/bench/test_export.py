"""The measurement of exports, in small; and what it says."""

import re

import pytest
from click.testing import CliRunner

from bench import export


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_all_records_come_and_rate_and_memory_are_told():
    result = CliRunner().invoke(export.main, ["--records=1500"])
    assert result.exit_code == 0, result.output
    for form in ("csv", "jsonl"):
        told = rf"SQLite, {form}: 1500 records, \d+ MiB in [\d.]+ s, \d+/s; control process \d+ MiB, \+[\d.]+ MiB"
        assert re.search(told, result.output)


def test_growth_is_what_came_on_top():
    outcome = export.Outcome("csv", 1000, 3 << 20, 2.0, 100 << 20, 103 << 20)
    told = "PostgreSQL, csv: 1000 records, 3 MiB in 2.0 s, 500/s; control process 100 MiB, +3.0 MiB"
    assert export.describe(outcome, "PostgreSQL") == told
