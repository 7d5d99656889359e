"""Numbers for llmlb's dashboard, out of ours."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrproxy.control.llmlb.dashboard_shapes import (
    MINUTE_SECONDS,
    NOTHING,
    endpoint_shown,
    mean_ms,
    metrics_of,
    minutes_of,
    node_shown,
    stats_of,
    tps_of,
)
from mrproxy.control.llmlb.endpoint_shapes import Known
from mrproxy.control.status import summarize
from mrproxy.link.snapshot import BackendSpec
from mrproxy.storage.usage_reports import UsageSum
from tests.control.api.conftest import NOW
from tests.control.llmlb.conftest import observe
from tests.control.llmlb.test_endpoint_shapes import ROW, known, live_one

USED = UsageSum("gpu-a", 10, 3, 100, 50, 150, 150, 0, 20.0)


async def test_an_endpoint_has_what_it_was_asked() -> None:
    one = endpoint_shown(known(await live_one()), USED, NOW)
    assert (one.total_requests, one.successful_requests, one.failed_requests) == (10, 7, 3)
    assert (one.status, one.endpoint_type) == ("online", "vllm")


async def test_a_node_is_an_endpoint_in_other_words() -> None:
    row = msgspec.structs.replace(ROW, gpu_memory_gb=24.0, gpu_type="RTX 4090")
    node = node_shown(known(await live_one(), row), USED, NOW)
    assert (node.machine_name, node.ip_address, node.runtime_port) == ("gpu-a", "10.0.0.1", 11434)
    assert (node.loaded_models, node.active_requests) == (["m1"], 2)
    assert (node.gpu_memory_total_mb, node.gpu_model_name) == (24 * 1024, "RTX 4090")
    assert (node.average_response_time_ms, node.cpu_usage, node.gpu_usage) == (2000.0, None, None)
    assert node_shown(known(await live_one(resident=[])), USED, NOW).loaded_models == ["m1", "m2"]
    unseen = node_shown(known(), NOTHING, NOW)
    assert (unseen.status, unseen.loaded_models, unseen.last_seen) == ("pending", [], None)


async def test_speed_is_tokens_of_answers_per_second() -> None:
    speed = tps_of(known(await live_one()), USED)
    assert (speed.aggregate_tps, speed.total_output_tokens, speed.model_count) == (2.5, 50, 2)
    assert tps_of(known(), NOTHING).aggregate_tps is None
    assert mean_ms(NOTHING) is None


async def test_the_whole_is_counted_under_all_three_words() -> None:
    status = summarize(await observe())
    down = Known("x", "x", "http://x", "vllm", row=ROW, live=await live_one(state="down", last_probe_error="refused"))
    cloud = Known("c", "c", "https://api.openai.com", "openai", spec=BackendSpec("c", "openai", "https://x", 1, "sk"))
    stats = stats_of([known(await live_one()), known(), down, cloud], USED, status, NOW)
    for word in ("nodes", "runtimes", "endpoints"):
        counted = [getattr(stats, f"{what}_{word}") for what in ("total", "online", "pending", "offline")]
        assert counted == [4, 1, 2, 1]
    assert (stats.openai_key_present, stats.google_key_present, stats.anthropic_key_present) == (True, False, False)
    assert (stats.total_active_requests, stats.queued_requests) == (2, 1)
    assert (stats.total_input_tokens, stats.total_output_tokens, stats.total_tokens) == (100, 50, 150)


@given(st.dictionaries(st.integers(0, 59), st.integers(1, 100)))
def test_each_minute_is_there_once(asked: dict[int, int]) -> None:
    first_utc = NOW // MINUTE_SECONDS * MINUTE_SECONDS
    sums = [
        (first_utc + number * 60, UsageSum("", count, count // 2, 0, 0, 0, 0, 0, 0.0))
        for number, count in asked.items()
    ]
    minutes = minutes_of(sums, first_utc, 60)
    assert [(each.minute.timestamp() - first_utc) / 60 for each in minutes] == list(range(60))
    assert sum(each.success + each.error for each in minutes) == sum(asked.values())


def test_a_minute_of_one_endpoint() -> None:
    one = metrics_of(known(), NOW, USED)
    assert (one.node_id, one.total_requests, one.failed_requests) == ("u-1", 10, 3)
    assert one.average_response_time_ms == pytest.approx(2000.0)
