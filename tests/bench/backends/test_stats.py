from bench.backends.stats import MAX_REMEMBERED, Stats

from .engine_bench import work


def test_departures_are_listed_with_their_moment():
    stats = Stats()
    stats.note_abort(work(), "streaming", 5, 123)
    summary = stats.summary(1, 2, 456)
    assert (summary["aborted_total"], summary["running"], summary["waiting"], summary["now_ns"]) == (1, 1, 2, 456)
    assert summary["aborted"][0]["tokens"] == 5
    assert summary["aborted"][0]["at_ns"] == 123


def test_answers_are_remembered_up_to_a_limit():
    stats = Stats()
    stats.sent = {str(number): (0, 0, 0) for number in range(MAX_REMEMBERED)}
    stats.note_sent(work(), 3, (3, 10, 99))
    assert len(stats.sent) == MAX_REMEMBERED
    assert "0" not in stats.sent
    assert (stats.prompt_tokens, stats.generation_tokens) == (10, 3)
