"""Shell. Settlement: what a request cost, told to its ledger entry, its grant and the cost model.

    complete     the engine's own count, or an estimate if it gave none
    unfinished   the client left, or the stream broke off: what was delivered, and the prompt
    failed       nothing reached the client: nothing but a request, and that only if it was the request's fault
Where the engine did not come to say how long the prompt was it is asked afterwards (`LateSettlement`): the slot is
free and the client gone by then, only the entry and the record wait, for 2 s at most (`upstream/tokenizer.py`).
Read first: `attempts.py`, which holds what is settled here, and says when.
"""

from dataclasses import dataclass

from mrproxy.accept.client import Client
from mrproxy.accept.heads import Head
from mrproxy.canonical.exchange import Exchange, Usage, UsageState
from mrproxy.canonical.request import Operation, Request
from mrproxy.canonical.surface import Surface
from mrproxy.dialects.forms import FormRequest
from mrproxy.dialects.lanes import Lane
from mrproxy.dialects.shallow import rename_model, set_context_length
from mrproxy.dialects.usage import Tap
from mrproxy.errors import BackendError
from mrproxy.identity.callers import Caller
from mrproxy.ledger.entry import Entry
from mrproxy.scheduler.grant import Grant
from mrproxy.stages import Stages
from mrproxy.translating import Translating
from mrproxy.upstream.backend import Backend
from mrproxy.upstream.tokenizing import Sent, is_askable
from mrproxy.verdicts import EngineRefused

# An answer without usage: English in a BPE vocabulary, JSON included (scheduler/cost.py starts there, too).
_BYTES_PER_TOKEN = 4
# Every request's path: a module's global is found faster than a member of an enum.
_EXACT, _ABSENT, _MEDIA = UsageState.EXACT, UsageState.ABSENT, Surface.MEDIA


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

    def _settle_counted(self, usage: Usage | None) -> None:
        exchange = self.exchange
        if usage is not None and usage.completion_tokens is None and self.request.max_tokens != 0:
            # Anthropic says at once how long the prompt is; how long the answer is it did not come to say.
            state = UsageState.COUNTED if self.request.streams else UsageState.PARTIAL
            self._charge(Usage(usage.prompt_tokens, self._estimated().completion_tokens), state)
        elif usage is not None:
            if self.head.route.surface is not _MEDIA:  # sounds and pictures teach nothing about text
                self._stages.costs.learn(exchange.model, self.request.prompt_bytes, *usage)
            self._charge(usage, _EXACT)
        elif exchange.operation == Operation.SHOW:
            self._charge(Usage(0, 0), UsageState.ABSENT)
        elif self.request.streams:
            # An engine that counts at all said no usage because it ended the stream by an error.
            self._charge_estimate(self._estimated(), UsageState.ESTIMATED)
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
            tokens = exchange.events if self.request.streams else None
            if usage is not None and usage.prompt_tokens is not None:
                # Some engines say what the prompt was at the beginning (Anthropic's message_start).
                self._charge(Usage(usage.prompt_tokens, tokens), UsageState.COUNTED)
                return
            self._charge_estimate(Usage(self._estimated_prompt(), tokens), UsageState.PARTIAL)

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

    # The prompt, asked for

    def _charge_estimate(self, estimate: Usage, state: UsageState) -> None:
        """The prompt is a guess: ask the backend how long it was. The slot is free now, entry and record wait for the
        answer (`exchange.settles_later`). Who cannot be asked, or does not answer, leaves the estimate as it is."""
        if not self._settles_later(estimate, state):
            self._charge(estimate, state)

    def _settles_later(self, estimate: Usage, state: UsageState) -> bool:
        stages, backend = self._stages, self.grant.backend
        wanted = stages.settings.aborted_prompts
        may_ask_again = wanted == "always"
        sent = self._sent(backend) if wanted != "estimate" and backend.tokenizer.has_room else None
        if sent is None or not is_askable(sent, may_ask_again=may_ask_again):
            return False
        late = LateSettlement(
            stages,
            self.exchange,
            self.caller,
            self.entry.hand_over(),
            self._client.address,
            estimate,
            state,
            self.request.prompt_bytes,
            stages.poller.clock(),
        )
        self.exchange.settles_later = True
        self.grant.release((estimate.prompt_tokens or 0) + (estimate.completion_tokens or 0))
        backend.tokenizer.ask_nowait(sent, late.told, may_ask_again=may_ask_again)
        return True

    def _sent(self, backend: Backend) -> Sent | None:
        """What the backend got. None: it is not known."""
        if self.exchange.lane == Lane.STRAIGHT:
            path = self.head.route.path.decode("latin-1").removeprefix("/anthropic")
            return Sent(backend.kind, path, self._body_for(backend))
        translation = self.translating.translation if self.translating is not None else None
        return None if translation is None else Sent(backend.kind, translation.path.decode(), translation.body)

    def _body_for(self, backend: Backend) -> bytes:
        """The body as this backend gets it in the straight lane."""
        request = self.request
        body, model = request.body, request.model
        own_name = backend.own_name(model)
        if own_name != model:
            body = request.renamed(own_name) if isinstance(request, FormRequest) else rename_model(body, own_name)
        context_length = backend.context_length(model)
        if context_length is not None and self.exchange.operation != Operation.SHOW:
            body = set_context_length(body, context_length, is_fixed=self._stages.settings.num_ctx_fixed)
        return body

    def _charge(self, usage: Usage, state: UsageState) -> None:
        exchange = self.exchange
        exchange.usage_state = state
        if state is not _ABSENT:
            exchange.usage = usage
        entry = self.entry
        tokens = entry.settle(*usage)
        if entry.charged_tokens is not None:
            exchange.charged_tokens = entry.charged_tokens
        self.grant.release(tokens)

    def _estimated_prompt(self) -> int:
        return self._stages.costs.estimate_prompt(self.exchange.model, self.request.prompt_bytes)


@dataclass(frozen=True, slots=True)
class LateSettlement:
    """A request that has ended but for its price. `told` is called once, whatever becomes of the question."""

    stages: Stages
    exchange: Exchange
    caller: Caller
    entry: Entry
    client_address: str
    estimate: Usage
    estimate_state: UsageState
    prompt_bytes: int
    ended_at: float

    def told(self, prompt_tokens: int | None) -> None:
        """The engine's own count; None where it could not say: the estimate stands."""
        exchange, usage, state = self.exchange, self.estimate, self.estimate_state
        if prompt_tokens is not None:
            usage, state = Usage(prompt_tokens, usage.completion_tokens), UsageState.COUNTED
            self.stages.costs.learn(exchange.model, self.prompt_bytes, prompt_tokens, None)
        exchange.usage, exchange.usage_state = usage, state
        self.entry.settle(*usage)
        exchange.charged_tokens = self.entry.charged_tokens
        self.stages.record_late(exchange, self.caller, self.client_address, self.ended_at)
