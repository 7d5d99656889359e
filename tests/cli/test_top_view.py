"""Pure. What `mrproxy top` shows."""

from mrproxy.cli.top_view import Scene, headline, sections
from tests.cli.test_status import STATUS


def flow(name: str, waiting: int) -> dict[str, object]:
    return {"flow_id": name, "weight": 2, "waiting": waiting, "in_flight": 1, "deficit_tokens": 5}


def queue(worker: str, model: str, *flows: dict[str, object]) -> dict[str, object]:
    count = sum(int(str(each["waiting"])) for each in flows)
    return {"worker": worker, "error": None, "flows": [{"model": model, "waiting": count, "flows": list(flows)}]}


def test_a_caller_is_summed_over_workers_and_who_waits_most_comes_first():
    queues = [queue("0", "m1", flow("ada", 1), flow("bob", 3)), queue("1", "m1", flow("ada", 4))]
    rows = sections(Scene(STATUS, queues, ""))[2].rows
    assert [(row["caller"], row["waiting"], row["in_flight"]) for row in rows] == [("ada", 5, 2), ("bob", 3, 1)]


def test_models_show_who_waits_for_them_even_where_no_backend_has_them():
    models = sections(Scene(STATUS, [queue("0", "gone", flow("ada", 2)), queue("1", "m1", flow("ada", 1))], ""))[1].rows
    assert {row["name"]: row["waiting"] for row in models} == {"m1": 1, "m2": 0, "m3": 0, "gone": 2}


def test_a_silent_worker_is_a_note():
    section = sections(Scene(STATUS, [{"worker": "1", "flows": [], "error": "hung"}], ""))[2]
    assert section.note == "worker 1: hung"


def test_the_headline_says_why_it_is_not_ready():
    assert headline(Scene(STATUS, [], "")).startswith("not ready: worker 1: hung; 2 in flight, 1 waiting")
