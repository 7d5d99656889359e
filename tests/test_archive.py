"""Asking the control plane: an answer, or a 503 in time, whatever is at the other end of the socket."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

from mrproxy.archive import Archive
from mrproxy.canonical.deltas import Finish, FinishReason, TextDelta
from mrproxy.dialects.codec import AnswerContext
from mrproxy.dialects.responses.answers import ResponsesDocumentEncoder
from mrproxy.dialects.responses.requests import decode_request
from mrproxy.dialects.responses.states import decode_chain
from mrproxy.dialects.responses.store import StoredResponse
from mrproxy.errors import Refused
from mrproxy.link.spool import (
    Event,
    ItemsAppended,
    ResponseDeleted,
    ResponseStored,
    SpoolReader,
    SpoolWriter,
    spool_segments,
)
from mrproxy.link.state import Done, FindResponse, States, Unavailable, encode

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n"
QUESTION = FindResponse("user:ada", "resp_1", True)


def archive(directory: Path) -> Archive:
    return Archive(str(directory / "s"), SpoolWriter(directory, "w1", 1 << 20), lambda: 100.0, 50.0)


async def ask(directory: Path, serve: Callable[[trio.SocketStream], Awaitable[None]]) -> object:
    """What is answered by such a control plane."""
    with trio.socket.socket(trio.socket.AF_UNIX) as listener:
        await listener.bind(str(directory / "s"))
        listener.listen()

        async def accept() -> None:
            sock, _ = await listener.accept()
            async with trio.SocketStream(sock) as stream:
                await serve(stream)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept)
            try:
                answer: object = await archive(directory).ask(QUESTION)
            except Refused as refusal:
                answer = refusal
            nursery.cancel_scope.cancel()
    return answer


def says(*pieces: bytes) -> Callable[[trio.SocketStream], Awaitable[None]]:
    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some(65536)
        for piece in pieces:
            await stream.send_all(piece)

    return serve


def whole(payload: bytes) -> bytes:
    return HEAD % len(payload) + payload


async def test_an_answer_may_come_in_pieces(tmp_path: Path) -> None:
    answer = whole(encode(States((b"x" * 200_000,))))
    pieces = [answer[start : start + 7000] for start in range(0, len(answer), 7000)]
    assert await ask(tmp_path, says(*pieces)) == States((b"x" * 200_000,))


async def test_a_byte_at_a_time_is_an_answer(tmp_path: Path) -> None:
    answer = whole(encode(Done()))
    assert await ask(tmp_path, says(*(bytes([each]) for each in answer))) == Done()


@pytest.mark.parametrize(
    "said",
    [
        b"",
        whole(encode(Unavailable())),
        whole(b"\xc1"),
        whole(b""),
        HEAD % 100 + b"short",
        b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\n\r\n" + encode(Done()),
        b"nonsense\r\n\r\n",
        b"x" * 200_000,
        b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n",
    ],
)
async def test_what_is_no_answer_is_a_503_with_a_time_to_come_again(tmp_path: Path, said: bytes) -> None:
    refusal = await ask(tmp_path, says(said))
    assert isinstance(refusal, Refused)
    assert (refusal.status, refusal.retry_after_seconds) == (503, 2)


async def test_a_control_plane_that_hangs_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mrproxy.archive.DEADLINE_SECONDS", 0.05)

    async def hang(stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    refusal = await ask(tmp_path, hang)
    assert isinstance(refusal, Refused)
    assert refusal.status == 503


async def test_nobody_at_the_socket_is_a_503(tmp_path: Path) -> None:
    with pytest.raises(Refused) as caught:
        await archive(tmp_path).ask(QUESTION)
    assert caught.value.status == 503


# What is written


def kept(directory: Path, **fields: object) -> list[Event]:
    """The events of one response to a request with these fields."""
    request = decode_request(json.dumps({"model": "m", "input": "hi"} | fields).encode())
    encoder = ResponsesDocumentEncoder(AnswerContext("r1", "m", 1.0), request)
    encoder.send([TextDelta("hello"), Finish(FinishReason.STOP)])
    encoder.finish()
    its_archive = archive(directory)
    its_archive.keep("user:ada", request, StoredResponse.of(request, encoder), encoder.sealed_items)
    its_archive.spool.close()
    return [event for segment in spool_segments(directory) for event in SpoolReader(segment.path)]


def test_a_response_is_kept_for_its_time(tmp_path: Path) -> None:
    (event,) = kept(tmp_path, previous_response_id="resp_0")
    assert isinstance(event, ResponseStored)
    assert (event.id, event.owner, event.previous_id) == ("resp_r1", "user:ada", "resp_0")
    assert event.conversation_id is None
    assert (event.created_utc, event.expires_utc) == (100.0, 150.0)
    assert len(decode_chain([event.state]).turn.conversation()) == 2


def test_of_a_conversation_the_items_are_kept_and_the_response_unless_it_is_not_to_be(tmp_path: Path) -> None:
    items, response = kept(tmp_path, conversation="conv_1")
    assert isinstance(items, ItemsAppended)
    assert isinstance(response, ResponseStored)
    assert (items.conversation_id, [item.id for item in items.items]) == ("conv_1", ["msg_r1_i0", "msg_r1_0"])
    assert response.conversation_id == "conv_1"


def test_without_store_only_the_conversation_grows(tmp_path: Path) -> None:
    (event,) = kept(tmp_path, conversation="conv_1", store=False)
    assert isinstance(event, ItemsAppended)


def test_what_is_not_to_be_stored_leaves_nothing(tmp_path: Path) -> None:
    assert kept(tmp_path, store=False) == []


def test_a_deletion_is_kept_as_long_as_the_response_could_come_back(tmp_path: Path) -> None:
    its_archive = archive(tmp_path)
    its_archive.delete("user:ada", "resp_1")
    its_archive.spool.close()
    (segment,) = spool_segments(tmp_path)
    assert list(SpoolReader(segment.path)) == [ResponseDeleted("resp_1", "user:ada", 100.0, 150.0)]
