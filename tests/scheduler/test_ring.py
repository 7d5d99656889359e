"""Pure. The ring by itself: visits, places, what is carried over. `test_wdrr.py` walks it as a whole."""

from mrproxy.scheduler.job import Flow, Job
from mrproxy.scheduler.ring import Ring


def joined(ring: Ring, flow_id: str, cost: int = 100, weight: int = 1) -> Flow:
    job = Job(flow_id, weight, "m", cost, 0.0)
    flow = ring.flow_of(job)
    flow.queue.append(job)
    flow.waiting = 1
    ring.join(flow, weight)
    return flow


def left(ring: Ring, flow: Flow) -> None:
    flow.waiting = 0
    ring.leave(flow)


def test_a_job_of_a_known_flow_finds_its_account():
    ring = Ring(100, 0)
    assert joined(ring, "a") is ring.flow_of(Job("a", 1, "m", 1, 0.0))


def test_a_visit_comes_in_the_round_that_covers_the_head():
    ring = Ring(100, 0)
    dear, cheap = joined(ring, "dear", 950), joined(ring, "cheap", 250)
    assert ring.visit_next() is cheap
    assert cheap.deficit == 300
    ring.credit(dear)
    assert dear.deficit == 300  # it stands before the other, so it has been visited as often
    left(ring, cheap)
    assert ring.visit_next() is dear
    assert dear.deficit == 1000


def test_an_absent_flow_banks_the_rounds_it_misses_up_to_the_cap():
    ring = Ring(100, 450)
    away, stays = joined(ring, "away"), joined(ring, "stays", 1000)
    assert ring.visit_next() is away
    left(ring, away)
    ring.visit_next()
    joined(ring, "away")
    assert away.deficit == 450
    assert stays.deficit == 1000


def test_who_was_visited_stands_before_the_pointer_when_it_comes_back():
    ring = Ring(100, 0)
    back, other = joined(ring, "back"), joined(ring, "other")
    ring.visit_next()
    left(ring, back)
    joined(ring, "back")
    new = joined(ring, "new")
    assert back.position < other.position < new.position
    assert ring.visit_next() is other


def test_visits_before_a_change_of_weight_count_at_the_old_one():
    ring = Ring(100, 0)
    flow, other = joined(ring, "a", 1000), joined(ring, "b", 500)
    assert ring.visit_next() is other
    ring.change_weight(flow, 5)
    assert flow.deficit == 500
    left(ring, other)
    ring.visit_next()
    assert flow.deficit == 1000


def test_statistics_bring_deficits_up_to_date():
    ring = Ring(100, 0)
    joined(ring, "a", 1000)
    joined(ring, "b", 500)
    ring.visit_next()
    assert [flow.deficit_tokens for flow in ring.statistics("m").flows] == [500, 500]
