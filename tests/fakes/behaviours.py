"""What `FakeEngine` can do with a request, and the bytes of engines' answers.

Pieces are sent one write each, and the next only when everybody has had the chance to take the one before
(`wait_all_tasks_blocked`), so a split really is two reads on the other side.
"""

import json
from collections.abc import Iterable
from itertools import pairwise

from trio.testing import wait_all_tasks_blocked

from tests.fakes.loop_engine import Behaviour, Turn

LAST_CHUNK = b"0\r\n\r\n"
DONE = b"data: [DONE]\n\n"
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
NDJSON_HEAD = STREAM_HEAD.replace(b"text/event-stream", b"application/x-ndjson")


def head(*lines: str, status: int = 200) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status} X", "Content-Type: application/json", *lines, "", ""]).encode()


def sized(body: bytes, *lines: str, status: int = 200) -> bytes:
    return head(*lines, f"Content-Length: {len(body)}", status=status) + body


def chunk(payload: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(payload), payload)


def event(text: str) -> bytes:
    """One SSE event of a chat, as vLLM writes it."""
    value = {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": text}}]}
    return b"data: %b\n\n" % json.dumps(value, separators=(",", ":")).encode()


def usage_event(prompt_tokens: int = 5, completion_tokens: int = 2) -> bytes:
    usage = {"prompt_tokens": prompt_tokens, "total_tokens": 0, "completion_tokens": completion_tokens}
    value = {"id": "c", "object": "chat.completion.chunk", "choices": [], "usage": usage}
    return b"data: %b\n\n" % json.dumps(value, separators=(",", ":")).encode()


def line(text: str) -> bytes:
    """One line of an Ollama chat."""
    return json.dumps({"model": "m", "message": {"content": text}, "done": False}).encode() + b"\n"


def last_line(prompt_tokens: int = 5, completion_tokens: int = 2) -> bytes:
    value = {"model": "m", "done": True, "prompt_eval_count": prompt_tokens, "eval_count": completion_tokens}
    return json.dumps(value).encode() + b"\n"


def chat_answer(text: str = "hello", prompt_tokens: int = 7, completion_tokens: int = 3) -> bytes:
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}
    return json.dumps({"choices": [{"message": {"content": text}}], "usage": usage}).encode()


def whole_stream(*texts: str) -> list[bytes]:
    """A chat stream, as the pieces in which an engine writes it."""
    return [STREAM_HEAD, *(chunk(event(text)) for text in texts), chunk(usage_event()), chunk(DONE), LAST_CHUNK]


def answer(*pieces: bytes, closes: bool = False) -> Behaviour:
    """These bytes, one write each; at the end the connection is closed, if so."""

    async def behave(turn: Turn) -> None:
        for index, piece in enumerate(pieces):
            if index:
                await wait_all_tasks_blocked()
            await turn.send(piece)
        if closes:
            await turn.close()

    return behave


def answer_status(status: int, *lines: str) -> Behaviour:
    return answer(sized(b'{"error":{"message":"no","code":%d}}' % status, *lines, status=status))


def answer_stream(*texts: str) -> Behaviour:
    return answer(*whole_stream(*texts))


def cut_into(data: bytes, sizes: Iterable[int]) -> list[bytes]:
    """`data` in pieces that end at these places."""
    places = [0, *sizes, len(data)]
    return [data[start:stop] for start, stop in pairwise(places) if start < stop]


def hang(*pieces: bytes) -> Behaviour:
    """These bytes, then silence until the other side leaves."""

    async def behave(turn: Turn) -> None:
        await answer(*pieces)(turn)
        await turn.hang()

    return behave


def reset(*pieces: bytes) -> Behaviour:
    """These bytes, delivered, then RST."""

    async def behave(turn: Turn) -> None:
        await answer(*pieces)(turn)
        await wait_all_tasks_blocked()
        turn.reset()

    return behave
