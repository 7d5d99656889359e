import shutil

import pytest

from bench import compare
from bench.compare import Plan, Row, Sample, wait_until_quiet
from bench.targets import Target, open_nginx

needs_nginx = pytest.mark.skipif(
    shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/bin") is None, reason="nginx is not installed"
)


def sample(target, cpu_us, p99_ms=1.0, alternation=0):
    return Sample(
        target, "json x1", alternation, 10, 10.0, cpu_us, {"a": 1.0, "b": 2.0}, 0.5, p99_ms, 2.0, 1000, 0.1, 0.0, 0, ""
    )


def test_ratios_are_paired_by_alternation():
    base = Row("nginx", "json x1", [sample("nginx", 10.0), sample("nginx", 20.0)])
    ours = Row("ours", "json x1", [sample("ours", 20.0, 1.5), sample("ours", 50.0, 1.25)])
    ratio = ours.ratio(base, "cpu_us")
    assert (ratio.low, ratio.median, ratio.high) == (2.0, 2.25, 2.5)
    assert ours.difference(base, "p99_ms").median == 0.375


def test_a_target_without_process_has_no_cpu():
    direct = Row("direct", "json x1", [sample("direct", None)])
    assert direct.spread("cpu_us") is None
    assert direct.ratio(Row("nginx", "json x1", [sample("nginx", 10.0)]), "cpu_us") is None


def test_cpu_is_told_apart_by_process_largest_first():
    assert list(Row("ours", "json x1", [sample("ours", 3.0)]).cpu_by_process()) == ["b", "a"]


def test_every_target_gets_its_turn_in_rotating_order():
    plan = Plan("m", 1, (5,), 1.0, 2)
    targets = [Target(name, "h", 1, ()) for name in "abc"]
    order = [(workload, turn, target.name) for workload, turn, target in compare.turns(plan, targets)]
    assert [name for workload, turn, name in order if workload == "json x1"] == ["a", "b", "c", "b", "c", "a"]
    assert len(order) == 2 * 2 * 3


@pytest.mark.slow
@needs_nginx
def test_compare_measures_nginx_and_direct(engine, monkeypatch):
    monkeypatch.setattr("bench.compare.QUIET_SECONDS", 0.0)  # other tests are never quiet
    plan = Plan("mock-8b", 2, (4,), 0.3, 1)
    with open_nginx(engine) as nginx:
        targets = [nginx, Target("direct", engine.host, engine.port, ())]
        rows = compare.run(plan, targets, lambda _line: None)
    assert len(rows) == 4
    assert not any(row.errors for row in rows)
    value = compare.rows_as_json(plan, rows)
    for row in value["rows"]:
        assert row["samples"][0]["count"] > 10
        if row["target"] == "nginx":
            assert row["cpu_us"]["median"] > 1
            assert row["cpu_to_nginx"]["median"] == 1.0


@pytest.mark.parametrize(
    ("busy_shares", "patience", "waited"),
    [([0.0], 30.0, 0.0), ([0.9, 0.5, 0.02], 30.0, 0.8), ([0.9] * 9, 1.0, 1.2), ([0.9], 0.0, 0.0)],
)
def test_a_turn_begins_when_the_core_is_quiet_or_patience_ends(monkeypatch, busy_shares, patience, waited):
    busy = [0.0]

    def rest(seconds):
        busy[0] += seconds * shares.pop(0)

    shares = list(busy_shares)
    monkeypatch.setattr("bench.compare.time.sleep", rest)
    monkeypatch.setattr("bench.compare.procfs.busy_seconds", lambda core: busy[0])
    assert wait_until_quiet(patience) == pytest.approx(waited)
