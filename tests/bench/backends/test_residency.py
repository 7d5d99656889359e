from bench.backends.residency import Residency
from bench.backends.settings import EngineSettings

SECOND = 1_000_000_000


def residency(**settings):
    return Residency(EngineSettings("ollama", ("a", "b"), **settings))


def want(kept, model, now=0):
    """A request for `model` waits; whether it can be served at once."""
    lane = kept.lane_of(model)
    lane.waiting.append("request")
    return kept.load(lane, now, lambda: None)


def serve(kept, model, now=0):
    lane = kept.lane_of(model)
    lane.waiting.clear()
    lane.touch(now)


def test_an_engine_without_loads_has_one_lane_that_is_always_ready():
    kept = Residency(EngineSettings("vllm", ("a", "b")))
    assert kept.lane_of("a") is kept.lane_of("b")
    assert kept.load(kept.lane_of("a"), 0, lambda: None)


def test_a_load_that_takes_time_begins_once():
    kept, begun = residency(load_seconds=1.0), []
    lane = kept.lane_of("a")
    lane.waiting.append("request")
    assert not kept.load(lane, 0, lambda: begun.append("a"))
    assert not kept.load(lane, 1, lambda: begun.append("a"))
    assert begun == ["a"]
    lane.finish_load(SECOND)
    assert kept.load(lane, SECOND, lambda: begun.append("a"))


def test_nothing_is_loaded_for_nobody():
    kept = residency()
    assert not kept.load(kept.lane_of("a"), 0, lambda: None)


def test_the_longest_unused_idle_model_makes_room():
    kept = residency(max_loaded_models=2)
    for now, model in enumerate("ab"):
        assert want(kept, model, now)
        serve(kept, model, now)
    assert want(kept, "c", 5)
    assert [model for model, _ in kept.resident(5)] == ["b", "c"]


def test_busy_models_make_no_room():
    kept = residency(max_loaded_models=1)
    assert want(kept, "a")
    assert not want(kept, "b")
    serve(kept, "a")
    assert kept.load(kept.lane_of("b"), 1, lambda: None)


def test_a_negative_keep_alive_is_for_ever():
    kept = residency()
    assert want(kept, "a")
    lane = kept.lane_of("a")
    lane.keep_alive(-1)
    serve(kept, "a")
    kept.expire(10**9 * SECOND)
    assert lane.is_loaded
    lane.keep_alive(1)
    lane.touch(0)
    assert kept.resident(SECOND // 2) == [("a", 0.5)]
    assert kept.resident(2 * SECOND) == []


def test_a_context_length_is_the_loads_until_another_is_asked_for():
    kept = residency()
    lane = kept.lane_of("a")
    assert kept.fit_context(lane, 4096)
    assert want(kept, "a")
    serve(kept, "a")
    assert kept.fit_context(lane, 4096)
    assert kept.fit_context(lane, None)
    assert lane.is_loaded
    lane.running["busy"] = None
    assert not kept.fit_context(lane, 8192)
    lane.running.clear()
    assert kept.fit_context(lane, 8192)
    assert (lane.is_loaded, lane.num_ctx, lane.context_reloads) == (False, 8192, 1)
