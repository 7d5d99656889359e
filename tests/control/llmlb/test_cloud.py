"""`/metrics/cloud`: each request is counted once."""

from dataclasses import replace

import pytest
import trio

from mrproxy.control.api.endpoint import Api
from mrproxy.control.llmlb import cloud
from mrproxy.control.llmlb.cloud import Cloud
from mrproxy.control.permissions import Permission
from mrproxy.control.status import Scene
from mrproxy.link.snapshot import BackendSpec, Snapshot
from tests.control.llmlb.conftest import Desk, observe
from tests.control.llmlb.records import add, made

OPENAI = BackendSpec("gpt", "openai", "https://api.openai.com", 8, "sk-1")
HERE = BackendSpec("gpu-a", "vllm", "http://10.0.0.1:8000", 8)


@pytest.fixture
def counted(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Counting anew at each question, since an hour ago."""
    monkeypatch.setattr(cloud, "FRESH_SECONDS", 0.0)

    async def observed() -> Scene:
        return replace(await observe(), uptime_seconds=3600.0)

    configured = Snapshot(generation=1, created_utc=0.0, backends=(OPENAI, HERE))
    desk.house.plane = replace(desk.house.plane, configured=lambda: configured, observe=observed)
    api = Api("/metrics/cloud", (Cloud().endpoint("", Permission.PUBLIC),))
    desk.client = desk.house.serve(api)
    return desk


async def lines(desk: Desk) -> list[str]:
    response = await desk.ask("GET", "/metrics/cloud")
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return [line for line in (await response.get_data()).decode().splitlines() if not line.startswith("#")]


async def test_requests_to_providers_are_counted_by_status_and_latency(counted: Desk) -> None:
    assert await lines(counted) == []
    await add(counted, made(0, backend="gpt", total_seconds=0.2), made(1), made(2, backend="gpt", status=429))
    found = await lines(counted)
    assert 'cloud_requests_total{provider="openai",status="200"} 1.0' in found
    assert 'cloud_requests_total{provider="openai",status="429"} 1.0' in found
    assert 'cloud_request_latency_seconds_bucket{le="0.1",provider="openai"} 0.0' in found
    assert 'cloud_request_latency_seconds_bucket{le="0.25",provider="openai"} 1.0' in found
    assert 'cloud_request_latency_seconds_bucket{le="0.5",provider="openai"} 2.0' in found
    assert 'cloud_request_latency_seconds_bucket{le="+Inf",provider="openai"} 2.0' in found
    assert 'cloud_request_latency_seconds_count{provider="openai"} 2.0' in found
    assert not [line for line in found if "gpu-a" in line]


async def test_however_often_one_asks_each_is_counted_once(counted: Desk) -> None:
    await add(counted, made(0, backend="gpt"))
    first = await lines(counted)
    assert await lines(counted) == first
    await add(counted, made(1, backend="gpt"), made(2, backend="gpt", started_utc=0.0))
    assert 'cloud_requests_total{provider="openai",status="200"} 2.0' in await lines(counted)


async def test_many_at_once_count_no_more(counted: Desk) -> None:
    await add(counted, made(0, backend="gpt"))
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(lines, counted)
    assert 'cloud_requests_total{provider="openai",status="200"} 1.0' in await lines(counted)


async def test_within_a_second_nothing_is_read(counted: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloud, "FRESH_SECONDS", 1e9)
    assert await lines(counted) == []
    await add(counted, made(0, backend="gpt"))
    assert await lines(counted) == []


async def test_without_a_database_it_is_said(bare_desk: Desk) -> None:
    assert (await bare_desk.refused("GET", "/metrics/cloud"))[0] == 503
