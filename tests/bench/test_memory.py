import dataclasses
import resource

import pytest

from bench.memory import hold_streams, raise_file_limit


def test_the_file_limit_is_raised_to_the_hard_one():
    raise_file_limit()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert soft == hard


@pytest.mark.slow
def test_streams_are_held_and_given_back(engine, monkeypatch):
    monkeypatch.setattr("bench.memory.REST_SECONDS", 0.3)
    usages, flowing = hold_streams(dataclasses.replace(engine, name="engine"), 20, 0.3)
    before, during, after = usages
    assert flowing == 20
    assert during.open_files == before.open_files + 20
    assert after.open_files == before.open_files
