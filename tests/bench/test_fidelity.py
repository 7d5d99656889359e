from collections import Counter

import pytest

from bench.fidelity import MAX_CHECKED, compare_answers, fetch_sent


def test_every_answer_received_must_have_been_sent():
    sent = Counter({(1, 10, 99): 1, (2, 20, 98): 2})
    assert compare_answers([(2, 20, 98), (1, 10, 99)], sent, 0, 0).is_exact
    twice = compare_answers([(1, 10, 99), (1, 10, 99)], sent, 0, 0)
    assert (twice.checked, twice.identical, twice.is_exact) == (2, 1, False)


def test_altered_events_spoil_a_run():
    assert not compare_answers([], Counter(), 1, 0).is_exact
    assert not compare_answers([], Counter(), 0, 1).is_exact


def test_more_answers_than_a_mock_remembers_are_not_compared():
    found = compare_answers([(0, 0, 0)] * (MAX_CHECKED + 1), Counter(), 0, 0)
    assert found.checked == 0
    assert found.note


@pytest.mark.slow
def test_a_mock_says_what_it_sent(engine):
    assert isinstance(fetch_sent(engine.url), Counter)
