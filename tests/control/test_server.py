"""The socket, its mode, its end; and that the end is certain."""

import socket
import stat
from pathlib import Path

import pytest
import trio
import trio.testing

from mrproxy.control.server import (
    HARD_EXIT_GRACE_SECONDS,
    AlreadyServed,
    end_for_certain,
    open_control_socket,
    serve_control,
)
from mrproxy.telemetry.access import access_fields
from tests.control.conftest import Control, FewSettings
from tests.control.test_records import RECORD
from tests.fakes.log import MemoryLog


def test_only_the_owner_may_connect(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with open_control_socket(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()


def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()
    with open_control_socket(path), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def test_a_live_socket_is_respected(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with open_control_socket(path):
        with pytest.raises(AlreadyServed), open_control_socket(path):
            pass
        assert path.exists()


def test_a_file_in_the_way_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    path.write_text("precious")
    with pytest.raises(FileExistsError), open_control_socket(path):
        pass
    assert path.read_text() == "precious"


async def test_a_second_control_plane_is_refused_bare(control: Control) -> None:
    with pytest.raises(AlreadyServed):
        await serve_control(FewSettings(), control.data_dir, drain=trio.Event(), log=control.log)


async def test_records_are_logged_up_to_the_end(control: Control) -> None:
    control.writer.append(RECORD)
    control.drain.set()
    with trio.fail_after(3):
        await control.ended.wait()
    assert control.log.events("request") == [access_fields(RECORD)]


async def test_an_idle_connection_does_not_hold_up_the_drain(control: Control) -> None:
    async with await control.open_stream() as stream:
        await stream.send_all(b"GET /healthz HTTP/1.1\r\nHost: c\r\n\r\n")
        await stream.receive_some()
        control.drain.set()
        with trio.fail_after(3):
            await control.ended.wait()


async def test_what_outlives_the_drain_is_ended_by_force(autojump_clock: trio.testing.MockClock) -> None:
    drain, log, exits = trio.Event(), MemoryLog(), list[int]()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(end_for_certain, drain, 5.0, log, exits.append)
        await trio.sleep(100)
        assert exits == []
        drain.set()
        await trio.sleep(5.0 + HARD_EXIT_GRACE_SECONDS - 0.1)
        assert exits == []
        await trio.sleep(0.2)
    assert exits == [1]
    assert len(log.events("exit by force")) == 1
