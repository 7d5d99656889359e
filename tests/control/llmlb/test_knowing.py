"""Which endpoints there are, and how they are found."""

from uuid import UUID

from mrproxy.control.llmlb.knowing import id_of, of_row
from mrproxy.control.status import summarize
from tests.control.llmlb.conftest import Desk, observe
from tests.control.llmlb.test_endpoint_shapes import ROW


def test_the_id_of_a_configured_one_is_a_uuid_that_stays() -> None:
    assert UUID(id_of("gpu-a")).version == 5
    assert id_of("gpu-a") == id_of("gpu-a") != id_of("gpu-b")


async def test_they_are_found_by_id_and_by_name(desk: Desk) -> None:
    for name in (id_of("gpu-a"), "gpu-a"):
        assert (await desk.shown(f"/endpoints/{name}"))["name"] == "gpu-a"
    assert await desk.refused("GET", "/endpoints/none") == (404, "Endpoint not found")


async def test_of_one_name_the_configured_one_is_what_workers_see() -> None:
    live = {each["name"]: each for each in summarize(await observe())["backends"]}
    assert of_row(ROW, live).live is not None
    assert of_row(ROW, live, is_overridden=True).live is None
