"""Shell. Asks a backend how long a prompt was, off the hot path: for streams that broke off before the engine said so.

Nobody waits for the answer: who asks is told later, exactly once, whatever happens: an answer, none in time, the
backend's end, the end of everything. At most MAX_ASKING questions are out at a time, each for ASKING_SECONDS at most.
Read next: `tokenizing.py`, what is asked; `mrproxy/settlement.py`, who asks.
"""

from collections.abc import Callable
from contextlib import AsyncExitStack

import httpx
import trio

from mrproxy.upstream.bounded import AnswerRefused, read_bounded
from mrproxy.upstream.endpoint import Endpoint
from mrproxy.upstream.probe import open_client
from mrproxy.upstream.tokenizing import Question, Reading, Sent, ask_again, first_question

# Tokenizing 100,000 tokens takes an engine 0.1 s. The caller's reservation stays open meanwhile.
ASKING_SECONDS = 2.0
# Each may hold a request's body; a burst of departures must not become a second load on the engine.
MAX_ASKING = 16
# 500,000 token ids; more than that is no text.
_MAX_ANSWER_BYTES = 4 << 20

Told = Callable[[int | None], None]


class Tokenizer:
    """One backend's; `run` is hosted by its nursery."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._nursery: trio.Nursery | None = None
        self._client: httpx.AsyncClient | None = None
        self.asking = 0

    @property
    def has_room(self) -> bool:
        """Whether a question may be asked now."""
        return self._nursery is not None and self.asking < MAX_ASKING

    def ask_nowait(self, sent: Sent, told: Told, *, may_ask_again: bool) -> None:
        """Call `told` with the tokens of the prompt, later, from another task; with None if that cannot be known.

        `may_ask_again`: an engine without a tokenizer may be asked for one token. Only where there is room.
        """
        assert self._nursery is not None
        self.asking += 1
        self._nursery.start_soon(self._ask, sent, told, may_ask_again, name="prompt tokens")

    async def run(self) -> None:
        async with AsyncExitStack() as self._exits, trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                await trio.sleep_forever()
            finally:
                self._nursery = self._client = None

    async def _ask(self, sent: Sent, told: Told, may_ask_again: bool) -> None:
        tokens: int | None = None
        try:
            with trio.move_on_after(ASKING_SECONDS):
                tokens = await self._count(first_question(sent))
                if tokens is None and may_ask_again:
                    tokens = await self._count(ask_again(sent))
        finally:  # a cancelled task comes by here, too
            self.asking -= 1
            told(tokens)

    async def _count(self, reading: Reading) -> int | None:
        while isinstance(reading, Question):
            reading = await self._post(reading)
        return reading

    def _opened(self) -> httpx.AsyncClient:
        """Most backends are never asked, and a client takes a millisecond to make."""
        if self._client is None:
            self._client = open_client(self._endpoint)
            self._exits.push_async_callback(self._client.aclose)
        return self._client

    async def _post(self, question: Question) -> Reading:
        try:
            async with self._opened().stream(
                "POST", question.path, content=question.body, headers={"content-type": "application/json"}
            ) as response:
                body = await read_bounded(response, _MAX_ANSWER_BYTES)
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, OSError, AnswerRefused):
            return None
        return question.read(response.status_code, body)
