"""`/dashboard/…` out of workers and records."""

from mrproxy.control.llmlb.knowing import id_of
from tests.control.llmlb.conftest import Desk
from tests.control.llmlb.records import add, made


async def test_nodes_runtimes_and_endpoints_are_the_same(desk: Desk) -> None:
    await add(desk, made(0), made(1, status=500), made(2, backend="elsewhere"))
    nodes = await desk.shown("/dashboard/nodes")
    assert await desk.shown("/dashboard/runtimes") == nodes
    (node,), (endpoint,) = nodes, await desk.shown("/dashboard/endpoints")
    assert node["id"] == endpoint["id"] == id_of("gpu-a")
    for one in (node, endpoint):
        assert (one["total_requests"], one["successful_requests"], one["failed_requests"]) == (2, 1, 1)
    assert node["average_response_time_ms"] == 500.0


async def test_the_whole_gateway_in_numbers(desk: Desk) -> None:
    await add(desk, made(0), made(1, backend="", status=429))
    stats = await desk.shown("/dashboard/stats")
    assert (stats["total_nodes"], stats["online_runtimes"], stats["offline_endpoints"]) == (1, 1, 0)
    assert (stats["total_requests"], stats["failed_requests"], stats["total_tokens"]) == (2, 1, 20)
    assert (stats["total_active_requests"], stats["queued_requests"]) == (2, 1)
    assert await desk.shown("/metrics/summary") == stats


async def test_the_last_hour_has_sixty_minutes(desk: Desk) -> None:
    await add(desk, made(0), made(1, status=500), made(2, started_utc=0.0))
    minutes = await desk.shown("/dashboard/request-history")
    assert len(minutes) == 60
    assert minutes[-1]["minute"] == "2025-10-09T08:53:00Z"
    assert (sum(each["success"] for each in minutes), sum(each["error"] for each in minutes)) == (1, 1)


async def test_all_of_it_at_once(desk: Desk) -> None:
    await add(desk, made(0))
    overview = await desk.shown("/dashboard/overview")
    assert overview["nodes"] == overview["runtimes"] == await desk.shown("/dashboard/nodes")
    assert overview["endpoints"] == await desk.shown("/dashboard/endpoints")
    assert overview["history"] == await desk.shown("/dashboard/request-history")
    assert overview["endpoint_tps"] == [
        {
            "endpoint_id": id_of("gpu-a"),
            "model_count": 2,
            "aggregate_tps": 6.0,
            "total_output_tokens": 3,
            "total_requests": 1,
        }
    ]
    assert overview["generation_time_ms"] >= 0


async def test_an_endpoint_has_its_minutes(desk: Desk) -> None:
    await add(desk, made(0), made(-100), made(1, backend="elsewhere"))
    found = await desk.shown(f"/dashboard/metrics/{id_of('gpu-a')}")
    assert [each["total_requests"] for each in found] == [1, 1]
    assert found[0]["timestamp"] < found[1]["timestamp"]
    assert await desk.refused("GET", "/dashboard/metrics/none") == (404, "Endpoint not found")


async def test_without_a_database_it_is_said(bare_desk: Desk) -> None:
    assert (await bare_desk.refused("GET", "/dashboard/stats"))[0] == 503
