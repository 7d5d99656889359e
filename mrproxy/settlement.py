"""Shell. Settlement: what a request cost, told to its ledger entry, its grant and the cost model.

    complete     the engine's own count, or an estimate if it gave none
    unfinished   the client left, or the stream broke off: what was delivered, and the prompt
    failed       nothing reached the client: nothing but a request, and that only if it was the request's fault
Read first: `attempts.py`, which holds what is settled here, and says when.
"""

from mrproxy.accept.client import Client
from mrproxy.accept.heads import Head
from mrproxy.canonical.exchange import Exchange, Usage, UsageState
from mrproxy.canonical.request import Operation, Request
from mrproxy.canonical.surface import Surface
from mrproxy.dialects.tapping import TranslatingTap
from mrproxy.dialects.usage import Tap
from mrproxy.errors import BackendError
from mrproxy.identity.callers import Caller
from mrproxy.ledger.entry import Entry
from mrproxy.scheduler.grant import Grant
from mrproxy.stages import Stages
from mrproxy.translating import Translating
from mrproxy.upstream.backend import Backend
from mrproxy.verdicts import EngineRefused

# An answer without usage: English in a BPE vocabulary, JSON included (scheduler/cost.py starts there, too).
_BYTES_PER_TOKEN = 4


class Settlement:
    """The part of `Attempts` that settles. A base class: an object more per request would cost what nothing else does.

    Who inherits fills the fields.
    """

    __slots__ = (
        "_client", "_stages", "_tap", "caller", "entry", "exchange", "grant", "head", "request", "translating",
    )  # fmt: skip

    _client: Client
    _stages: Stages
    _tap: Tap | None
    caller: Caller
    entry: Entry
    exchange: Exchange
    grant: Grant[Backend]
    head: Head
    request: Request
    translating: Translating | None

    def _settle(self) -> None:
        """The answer is complete: the engine's own count, or an estimate if it gave none."""
        tap = self._tap
        assert tap is not None
        self.exchange.events = tap.events
        self._settle_counted(tap.usage)
        if self.translating is not None and isinstance(tap, TranslatingTap):
            self.translating.completed()

    def _settle_counted(self, usage: Usage | None) -> None:
        exchange = self.exchange
        if usage is not None and usage.completion_tokens is None and self.request.max_tokens != 0:
            # Anthropic says at once how long the prompt is; how long the answer is it did not come to say.
            self._charge(Usage(usage.prompt_tokens, self._estimated().completion_tokens), UsageState.PARTIAL)
        elif usage is not None:
            if self.head.route.surface is not Surface.MEDIA:  # sounds and pictures teach nothing about text
                self._stages.costs.learn(exchange.model, self.request.prompt_bytes, *usage)
            self._charge(usage, UsageState.EXACT)
        elif exchange.operation == Operation.SHOW:
            self._charge(Usage(0, 0), UsageState.ABSENT)
        else:
            self._charge(self._estimated(), UsageState.ESTIMATED)

    def _estimated(self) -> Usage:
        """By the size of the prompt, and the events or the size of the answer."""
        exchange, request = self.exchange, self.request
        if request.max_tokens == 0:  # embeddings: nothing is generated
            return Usage(self._estimated_prompt(), None)
        body_bytes = max(0, exchange.answer_bytes - exchange.head_bytes)
        tokens = exchange.events if request.streams else body_bytes // _BYTES_PER_TOKEN
        return Usage(self._estimated_prompt(), tokens)

    def _settle_unfinished(self) -> None:
        """The client left: what was delivered is billed, and the prompt, if a backend got it."""
        exchange, tap = self.exchange, self._tap
        usage = tap.usage if tap is not None else None
        exchange.events = tap.events if tap is not None else 0
        self.grant.backend.gave_up(self._stages.poller.clock())
        if not exchange.is_sent or exchange.operation == Operation.SHOW:
            self.grant.release(0)
        elif usage is not None and usage.completion_tokens is not None:
            self._charge(usage, UsageState.EXACT)
        else:
            # Some engines say what the prompt was at the beginning (Anthropic's message_start).
            prompt = usage.prompt_tokens if usage is not None else None
            tokens = exchange.events if self.request.streams else None
            self._charge(Usage(self._estimated_prompt() if prompt is None else prompt, tokens), UsageState.PARTIAL)

    def _settle_failed(self, error: BackendError) -> None:
        """The backend failed: what reached the client is billed; an engine's refusal costs nothing but a request.

        An answer that was made to its end, and then was not what had been asked for, cost what the engine says."""
        usage = self._tap.usage if self._tap is not None else None
        if self.exchange.answer_bytes or (usage is not None and usage.completion_tokens is not None):
            self._settle_unfinished()
            return
        if isinstance(error, EngineRefused) and not error.retryable:
            self.entry.settle(0, 0)
        self.grant.release(0)

    def _charge(self, usage: Usage, state: UsageState) -> None:
        exchange = self.exchange
        exchange.usage_state = state
        if state is not UsageState.ABSENT:
            exchange.usage = usage
        tokens = self.entry.settle(*usage)
        self.grant.release(tokens)

    def _estimated_prompt(self) -> int:
        return self._stages.costs.estimate_prompt(self.exchange.model, self.request.prompt_bytes)
