import pytest

from bench.backends.faults import KINDS, Fault, FaultPlan, parse_fault, parse_rule, parse_rule_text, split_model


def test_a_model_may_carry_a_fault():
    assert split_model("llama!hang") == ("llama", "hang")
    assert split_model("org/llama:8b") == ("org/llama:8b", "")


def test_a_fault_may_say_after_how_many_tokens():
    assert parse_fault("reset_stream:7") == Fault("reset_stream", 7)
    assert parse_fault("hang") == Fault("hang")
    assert parse_fault("nonsense") is None


def test_rules_are_read_from_text_and_from_json():
    rule = parse_rule_text("truncate,probability=0.5,count=3,after_tokens=2")
    assert (rule.fault, rule.probability, rule.left) == (Fault("truncate", 2), 0.5, 3)
    assert parse_rule({"kind": "hang"}).left is None
    with pytest.raises(ValueError, match="unknown kind"):
        parse_rule({"kind": "explode"})


def test_a_rule_with_a_count_strikes_that_often():
    plan = FaultPlan(1, [parse_rule({"kind": "hang", "count": 2})])
    assert [plan.choose() is not None for _ in range(4)] == [True, True, False, False]


def test_the_same_seed_strikes_the_same_requests():
    def strikes(seed):
        plan = FaultPlan(seed, [parse_rule({"kind": "hang", "probability": 0.3})])
        return [plan.choose() is not None for _ in range(200)]

    assert strikes(1) == strikes(1)
    assert strikes(1) != strikes(2)
    assert 30 <= sum(strikes(1)) <= 90


def test_every_kind_is_explained():
    assert all(KINDS.values())
