import tomllib

from bench.fairness import FairnessOutcome, FairnessPlan
from bench.fairness_command import default_bound, summarise, users_as_toml
from bench.shares import ServiceLog

PLAN = FairnessPlan({"three": 3, "one": 1}, {"three": "k3", "one": "k1"}, slots=2)


def outcome(scheduler, three, one, errors=()):
    log = ServiceLog(PLAN.weights, [(1, "three", three), (2, "one", one)])
    return FairnessOutcome(scheduler, log, 10.0, list(errors), 300, 128)


def test_users_and_keys_are_configured_with_their_weights():
    config = tomllib.loads(users_as_toml(PLAN))
    assert [(user["name"], user["weight"]) for user in config["users"]] == [("user0", 3), ("user1", 1)]
    assert [(key["user"], key["key"]) for key in config["keys"]] == [("user0", "k3"), ("user1", "k1")]


def test_fair_shares_pass_and_unfair_ones_are_named():
    fair = summarise(PLAN, {"wdrr": [outcome("wdrr", 7500, 2500)], "fifo": [outcome("fifo", 5000, 5000)]}, 5000)
    assert fair["failed"] == []
    assert fair["throughput_to_fifo"] == 1.0
    unfair = summarise(PLAN, {"wdrr": [outcome("wdrr", 5000, 5000)], "fifo": [outcome("fifo", 6000, 6000)]}, 5000)
    text = " ".join(unfair["failed"])
    assert "share of three is 0.500" in text
    assert "Jain" in text
    assert "throughput is 0.833" in text


def test_a_broken_bound_and_errors_fail():
    runs = {"wdrr": [outcome("wdrr", 7500, 2500, ["status 500"])], "fifo": [outcome("fifo", 7500, 2500)]}
    failed = summarise(PLAN, runs, 10)["failed"]
    assert failed[0] == "1 requests failed, first: status 500"
    assert "exceeds the bound 10" in failed[1]


def test_the_default_bound_grows_with_the_burst_cap():
    runs = [outcome("wdrr", 1, 1)]
    assert default_bound(PLAN, runs, 1000, 20_000) > default_bound(PLAN, runs, 1000, 0) > 1000
