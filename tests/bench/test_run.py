import pytest

from bench.answers import Answer, TokenStream
from bench.client import Job
from bench.histogram import Histogram
from bench.results import metric_of
from bench.run import Runner, RunPlan, failure_of, find_flaws
from bench.workload import RequestSpec

from .results_example import example


def job_with(answer, error=""):
    job = Job(b"", answer, lambda _job: None)
    job.error = error
    return job


def test_equal_failures_have_equal_words():
    assert failure_of(job_with(Answer(), "connect: ECONNREFUSED")) == "connect: ECONNREFUSED"
    refused = Answer()
    refused.receive_data(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", 1)
    assert failure_of(job_with(refused)) == "status 503"
    cut = TokenStream(lambda _delay: None)
    cut.receive_data(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 1)
    assert failure_of(job_with(cut)) == "stream ended without its end marker"
    fine = Answer()
    fine.receive_data(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 1)
    assert failure_of(job_with(fine)) == ""


def lag_of(value_ns):
    histogram = Histogram()
    histogram.record_all([value_ns] * 2000)
    return metric_of("lag", "lag", histogram)


def test_a_late_generator_makes_a_run_invalid():
    plan = RunPlan(RequestSpec())
    assert find_flaws(example(), plan, lag_of(1_000_000)) == []
    assert "generator lag" in find_flaws(example(), plan, lag_of(50_000_000))[0]
    assert find_flaws(example(), plan, None) == ["no lag samples"]
    assert find_flaws(example(succeeded=0), plan, lag_of(1)) == ["no request succeeded"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"spec": RequestSpec(stream=True, max_tokens=10), "concurrency": 4},
        {"spec": RequestSpec(stream=True, max_tokens=10), "rate": 100.0, "arrival": "poisson"},
        {"spec": RequestSpec(max_tokens=2), "rate": 100.0},
    ],
)
def test_a_run_measures_every_request_it_meant_to_start(engine, changes):
    plan = RunPlan(**{"keys": ("a", "b"), "seconds": 0.4, "warm_seconds": 0.1} | changes)
    shares = []
    result, record = Runner(plan, engine, shares.append).run()
    assert result.errors == {}
    assert result.succeeded == result.requests > 10
    assert len(record.payloads) == result.succeeded
    assert result.metric("e2e").count == result.succeeded
    assert [caller.name for caller in result.callers] == ["caller 1", "caller 2"]
    assert sum(caller.requests for caller in result.callers) == result.requests
    assert result.cost is not None
    assert result.cost.cpu_seconds > 0
    if plan.spec.stream:
        assert result.tokens == 10 * result.succeeded
        assert result.metric("added").count == result.tokens
        assert result.metric("itl").count == 9 * result.succeeded
    assert shares


@pytest.mark.slow
def test_failures_are_counted_by_kind(engine):
    plan = RunPlan(RequestSpec(model="nope"), concurrency=2, seconds=0.1, warm_seconds=0.02)
    result, _ = Runner(plan, engine, lambda _share: None).run()
    assert list(result.errors) == ["status 404"]
    assert "no request succeeded" in result.invalid[-1]
