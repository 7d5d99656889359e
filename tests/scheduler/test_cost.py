"""Pure. Estimates of cost, and what they learn."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.scheduler.cost import CostModel


def test_an_unknown_model_is_four_bytes_per_token_and_256_tokens_of_answer():
    assert CostModel().estimate("m", 4000, None) == 1000 + 256
    assert CostModel().estimate_prompt("m", 4000) == 1000


@pytest.mark.parametrize(("max_tokens", "completion"), [(10, 10), (0, 0), (-1, 0), (256, 256), (100_000, 256)])
def test_the_completion_is_the_lower_of_the_limit_and_the_mean(max_tokens: int, completion: int):
    assert CostModel().estimate("m", 400, max_tokens) == 100 + completion


def test_nothing_costs_nothing():
    assert CostModel().estimate("m", 0, 0) == 1
    assert CostModel().estimate_prompt("m", 0) == 1


def test_it_learns_each_model_by_itself():
    subject = CostModel()
    for _ in range(200):
        subject.learn("dense", 1000, 500, 20)
    assert subject.bytes_per_token("dense") == pytest.approx(2, rel=0.01)
    assert subject.mean_completion_tokens("dense") == pytest.approx(20, abs=0.1)
    assert subject.estimate("dense", 1000, None) == pytest.approx(520, abs=2)
    assert subject.estimate_prompt("dense", 1000) == pytest.approx(500, abs=2)
    assert (subject.bytes_per_token("other"), subject.mean_completion_tokens("other")) == (4, 256)


def test_absent_usage_teaches_nothing():
    subject = CostModel()
    subject.learn("m", 1000, None, None)
    subject.learn("m", 0, 10, None)
    assert subject.estimate("m", 1000, None) == CostModel().estimate("m", 1000, None)


def test_an_empty_answer_is_an_answer():
    subject = CostModel()
    subject.learn("m", 1000, None, 0)
    assert subject.mean_completion_tokens("m") == 240


def test_one_image_does_not_ruin_the_ratio_for_text():
    subject = CostModel()
    subject.learn("m", 1_000_000, 1000, None)
    assert subject.bytes_per_token("m") < 4.3


@given(
    st.lists(st.tuples(st.integers(0, 10**8), st.integers(0, 10**6), st.integers(0, 10**6))),
    st.integers(0, 10**8),
    st.none() | st.integers(-1, 10**6),
)
def test_an_estimate_is_a_positive_whole_number_whatever_was_learnt(usages, prompt_bytes, max_tokens):
    subject = CostModel()
    for usage in usages:
        subject.learn("m", *usage)
    estimate = subject.estimate("m", prompt_bytes, max_tokens)
    assert isinstance(estimate, int)
    assert 1 <= estimate <= prompt_bytes + 10**6 + 1
    assert estimate >= subject.estimate_prompt("m", prompt_bytes)
