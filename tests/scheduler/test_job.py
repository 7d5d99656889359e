"""Pure. The records the disciplines work on."""

from mrproxy.scheduler.job import Flow, Job


def test_a_new_job_waits_nowhere_and_owes_nothing():
    job = Job("u", 3, "m", 100, 1.5)
    assert not job.is_waiting
    assert job.flow is None
    assert job.excluded is None
    assert job.uncharged_epoch == -1


def test_jobs_are_told_apart_by_identity():
    assert Job("u", 1, "m", 1, 0.0) != Job("u", 1, "m", 1, 0.0)


def test_a_visit_of_a_flow_is_worth_weight_times_quantum():
    assert Flow("u", 3, 1000, 0).allowance == 3000


def test_neither_carries_a_dictionary():
    assert not hasattr(Job("u", 1, "m", 1, 0.0), "__dict__")
    assert not hasattr(Flow("u", 1, 1, 0), "__dict__")
