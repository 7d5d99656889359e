import pytest

from bench.fairness import FairnessLoad, FairnessPlan


@pytest.mark.slow
def test_each_caller_keeps_its_depth_and_service_is_true_usage(engine):
    plan = FairnessPlan({"a": 2, "b": 1}, {"a": "ka", "b": "kb"}, depth=3, seconds=0.3, warm_seconds=0.1)
    outcome = FairnessLoad(plan, engine, "none").run()
    assert outcome.errors == []
    assert set(outcome.log.service) == {"a", "b"}
    assert outcome.tokens_per_second > 0
    assert 16 <= outcome.largest_completion_tokens <= 128
    assert outcome.largest_prompt_tokens > 25


@pytest.mark.slow
def test_failures_are_kept_with_their_words(engine):
    plan = FairnessPlan({"a": 1, "b": 1}, {"a": "", "b": ""}, model="nope", depth=1, seconds=0.05, warm_seconds=0.0)
    outcome = FairnessLoad(plan, engine, "none").run()
    assert "status 404" in outcome.errors[0]
