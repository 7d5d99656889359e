"""Shell. Asks a backend how it is: a few GETs, decoded by `probing.py`.

Without TLS by `asking.py`, because all backends are asked all the time; with it by httpx, one client per backend, kept
open between probes. Deadlines are the caller's scope.
"""

import dataclasses
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

import httpx
import trio

from mrproxy.canonical.surface import PROBED, Surface
from mrproxy.upstream.asking import MAX_ANSWER_BYTES, Asker, AskError
from mrproxy.upstream.bounded import IDENTITY, AnswerRefused, read_bounded
from mrproxy.upstream.endpoint import ANTHROPIC_VERSION, Endpoint
from mrproxy.upstream.probing import PROBE_PATHS, Answer, ProbeError, ProbeResult, decode_answers, decode_native


class Prober:
    """`async with` owns the connections."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._asker = Asker(endpoint)
        self._client = open_client(endpoint) if endpoint.is_tls else None
        self._exits = AsyncExitStack()
        self._answers: dict[str, Answer] = {}
        self._native: frozenset[Surface] = frozenset()
        self._native_of: tuple[str, str] | None = None

    async def __aenter__(self) -> Self:
        if self._client is not None:
            await self._exits.enter_async_context(self._client)
        self._exits.callback(self._asker.close)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._exits.__aexit__(kind, error, traceback)

    @property
    def has_answer(self) -> bool:
        """Whether the present probe, or the one that was cut off, got any answer."""
        return bool(self._answers)

    async def probe(self, kind: str) -> ProbeResult | ProbeError:
        """The result, or as a value why there is none."""
        answers = self._answers = {}
        problems: list[str] = []
        async with trio.open_nursery() as nursery:
            for path in PROBE_PATHS[kind]:
                nursery.start_soon(self._ask, path, answers, problems, name=f"probe {path}")
        if not answers:
            return ProbeError(problems[0] if problems else "no answer")
        try:
            result = decode_answers(kind, answers)
        except ProbeError as error:
            return error
        return await self._with_native(result)

    async def _with_native(self, result: ProbeResult) -> ProbeResult:
        """Which newer surfaces it serves is asked once, and again when it says that it is another version.

        A server that never answers what it does not know is usable all the same: half of the time left is for this.
        """
        if result.kind == "anthropic" or result.loading:
            return result
        known = (result.kind, result.version)
        if known != self._native_of:
            answers: dict[str, Answer] = {}
            deadline = (trio.current_time() + trio.current_effective_deadline()) / 2
            with trio.move_on_at(deadline):
                async with trio.open_nursery() as nursery:
                    for path in PROBED:
                        nursery.start_soon(self._ask, path, answers, [], name=f"probe {path}")
            self._native = decode_native(answers)
            if len(answers) == len(PROBED):
                self._native_of = known
        return dataclasses.replace(result, native=self._native)

    async def _ask(self, path: str, answers: dict[str, Answer], problems: list[str]) -> None:
        if self._client is None:
            try:
                answers[path] = Answer(*await self._asker.get(path))
            except AskError as exc:
                problems.append(f"{path}: {exc}")
            return
        try:
            async with self._client.stream("GET", path) as response:
                body = await read_bounded(response, MAX_ANSWER_BYTES)
        except AnswerRefused as exc:
            problems.append(f"{path}: {exc}")
            return
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as exc:
            problems.append(f"{path}: {type(exc).__name__}")
            return
        answers[path] = Answer(response.status_code, body)


def open_client(endpoint: Endpoint) -> httpx.AsyncClient:
    """For small requests of our own to a backend: its credentials, below its prefix. To be entered and left.

    Answers are for `bounded.py` to read.
    """
    headers = {"user-agent": "mrproxy-probe", **IDENTITY}
    if endpoint.key_line:
        name, _, value = endpoint.key_line.decode().strip().partition(": ")
        headers[name] = value
    if endpoint.is_anthropic:
        headers["anthropic-version"] = ANTHROPIC_VERSION.decode()
    return httpx.AsyncClient(
        base_url=f"{'https' if endpoint.is_tls else 'http'}://{_netloc(endpoint)}{endpoint.prefix.decode()}",
        headers=headers,
        # The system's certificates, as for requests; httpx would take certifi's, and reading any takes 20 ms.
        verify=endpoint.tls or False,
        timeout=None,  # the caller's scope
        trust_env=False,
    )


def _netloc(endpoint: Endpoint) -> str:
    name = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    return f"{name}:{endpoint.port}"
