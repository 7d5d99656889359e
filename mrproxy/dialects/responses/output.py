"""Pure. Deltas to output items: which item a delta belongs to, when items and their parts begin and end.

Reasoning and messages are open one at a time; functions are called beside each other, and a call whose arguments are
a whole object ends when the next one begins, so that a caller may run it already. `Assembly` keeps what was said;
what a stream has to tell of it at each step, it tells in the hooks (`on_…`), which do nothing here.
"""

from collections.abc import Sequence
from typing import TypeAlias, assert_never

from mrproxy.canonical.conversation import Message
from mrproxy.canonical.deltas import (
    Begin,
    Context,
    Delta,
    End,
    Failure,
    Finish,
    FinishReason,
    Logprobs,
    RedactedThinkingDelta,
    RefusalDelta,
    Report,
    TextDelta,
    ThinkingDelta,
    ThinkingSignature,
    TokenReport,
    ToolCallArguments,
    ToolCallBegin,
)
from mrproxy.dialects.responses.documents import IncompleteDetails, OutputItem, TokenLogprob
from mrproxy.dialects.responses.items import REDACTED, SIGNED
from mrproxy.dialects.responses.progress import (
    COMPLETED,
    IN_PROGRESS,
    INCOMPLETE,
    CallInProgress,
    ItemInProgress,
    PartInProgress,
    read_logprobs,
)
from mrproxy.dialects.responses.turns import AssistantTurn

_OfChoice: TypeAlias = (
    TextDelta
    | ThinkingDelta
    | ThinkingSignature
    | RedactedThinkingDelta
    | RefusalDelta
    | ToolCallBegin
    | ToolCallArguments
    | Logprobs
    | Finish
)
_PREFIXES = {"message": "msg", "reasoning": "rs", "function_call": "fc"}


class Assembly:
    """The output of one answer. `stem` makes its items' ids."""

    def __init__(self, stem: str, *, shows_sealed: bool) -> None:
        self._stem = stem
        self._shows_sealed = shows_sealed
        self.items: list[ItemInProgress] = []
        self._current: ItemInProgress | None = None
        self._calls: dict[int, ItemInProgress] = {}
        self.tokens: TokenReport | None = None
        self.reason: FinishReason | None = None
        self.failure: str | None = None

    # Hooks

    def on_item_added(self, item: ItemInProgress) -> None: ...

    def on_part_added(self, item: ItemInProgress, part: PartInProgress) -> None: ...

    def on_said(self, part: PartInProgress, text: str, logprobs: Sequence[TokenLogprob]) -> None: ...

    def on_called(self, item: ItemInProgress, fragment: str) -> None: ...

    def on_part_done(self, item: ItemInProgress, part: PartInProgress) -> None: ...

    def on_item_done(self, item: ItemInProgress) -> None: ...

    # Deltas

    def assemble(self, deltas: Sequence[Delta]) -> None:
        """Nothing follows a Failure."""
        is_last_text = False
        for number, delta in enumerate(deltas):
            if isinstance(delta, TextDelta):
                is_last_text = True
                following = deltas[number + 1] if number + 1 < len(deltas) else None
                logprobs = read_logprobs(following) if isinstance(following, Logprobs) else ()
                if not delta.choice:
                    self._say("message", "output_text", delta.text, logprobs)
                continue
            if not (is_last_text and isinstance(delta, Logprobs)):
                self._take(delta)
            is_last_text = False

    def _take(self, delta: Delta) -> None:
        match delta:
            case Begin() | Context() | End():
                pass
            case Report():
                self.tokens = delta.tokens
            case Failure():
                self.failure = delta.message
            case _:
                # Answers beside the first were not asked for: Responses has no `n`.
                if not delta.choice:
                    self._take_of_choice(delta)

    def _take_of_choice(self, delta: _OfChoice) -> None:
        match delta:
            case TextDelta():
                self._say("message", "output_text", delta.text, ())
            case ThinkingDelta():
                self._say("reasoning", "reasoning_text", delta.text, ())
            case RefusalDelta():
                self._say("message", "refusal", delta.text, ())
            case ToolCallBegin():
                self._begin_call(delta)
            case ToolCallArguments():
                self._add_arguments(delta)
            case ThinkingSignature():
                self._seal(SIGNED + delta.signature)
            case RedactedThinkingDelta():
                self._end_current()
                self._seal(REDACTED + delta.data)
            case Logprobs():
                self._add_logprobs(delta)
            case Finish():
                self.reason = delta.reason
                self.end_items()
            case _:
                assert_never(delta)

    def _say(self, kind: str, part_kind: str, text: str, logprobs: Sequence[TokenLogprob]) -> None:
        item = self._current
        if item is None or item.kind != kind:
            if not text:
                return
            item = self._begin_item(kind)
        part = item.parts[-1] if item.parts else None
        if part is None or part.kind != part_kind:
            if not text:
                return
            part = self._begin_part(item, part_kind)
        elif not text and not logprobs:
            return
        part.fragments.append(text)
        part.logprobs += logprobs
        self.on_said(part, text, logprobs)

    def _add_logprobs(self, delta: Logprobs) -> None:
        """Of tokens without a text, as special ones are: they count as a piece of the text that is being said."""
        if self._current is not None and self._current.kind == "message":
            self._say("message", "output_text", "", read_logprobs(delta))

    def _seal(self, sealed: str) -> None:
        item = self._current
        if item is None or item.kind != "reasoning":
            item = self._begin_item("reasoning")
        item.sealed = sealed
        self._end_current()

    def _begin_call(self, delta: ToolCallBegin) -> None:
        self._end_current()
        for item in self._calls.values():
            if item.status == IN_PROGRESS and item.call is not None and item.call.is_complete:
                self._end_item(item, COMPLETED)
        self._calls[delta.call] = self._add_item("function_call", CallInProgress(delta.id, delta.name))

    def _add_arguments(self, delta: ToolCallArguments) -> None:
        item = self._calls.get(delta.call)
        if item is None or item.call is None or item.status != IN_PROGRESS or not delta.fragment:
            return  # after a whole object only white space can follow
        item.call.fragments.append(delta.fragment)
        self.on_called(item, delta.fragment)

    # Items

    def _begin_item(self, kind: str) -> ItemInProgress:
        self._end_current()
        self._current = item = self._add_item(kind, None)
        return item

    def _add_item(self, kind: str, call: CallInProgress | None) -> ItemInProgress:
        index = len(self.items)
        item = ItemInProgress(kind, f"{_PREFIXES[kind]}_{self._stem}_{index}", index, call)
        item.shows_sealed = self._shows_sealed
        self.items.append(item)
        self.on_item_added(item)
        return item

    def _begin_part(self, item: ItemInProgress, kind: str) -> PartInProgress:
        if item.parts:
            self.on_part_done(item, item.parts[-1])
        part = PartInProgress(kind, len(item.parts))
        item.parts.append(part)
        self.on_part_added(item, part)
        return part

    def _end_current(self, status: str = COMPLETED) -> None:
        if self._current is not None:
            self._end_item(self._current, status)
            self._current = None

    def _end_item(self, item: ItemInProgress, status: str) -> None:
        call = item.call
        if call is not None and status == COMPLETED and not call.arguments.strip():
            call.fragments.append("{}")  # a function that takes nothing: callers parse what they get
            self.on_called(item, "{}")
        item.status = status
        if item.parts:
            self.on_part_done(item, item.parts[-1])
        self.on_item_done(item)

    def end_items(self) -> None:
        """Whatever is open, in the order in which it began. What was open when the answer was cut is incomplete."""
        status = COMPLETED if self.incomplete_details is None else INCOMPLETE
        for item in self.items:
            if item.status == IN_PROGRESS:
                is_whole = item.call is not None and item.call.is_complete
                self._end_item(item, COMPLETED if is_whole else status)
        self._current = None

    def break_off(self) -> None:
        """The answer ends in the middle: nothing more is told of what is open."""
        for item in self.items:
            if item.status == IN_PROGRESS:
                item.status = INCOMPLETE
        self._current = None

    # What it came to

    @property
    def incomplete_details(self) -> IncompleteDetails | None:
        """Why the answer is not whole; None if it is, as far as the engine said."""
        match self.reason:
            case FinishReason.LENGTH:
                return IncompleteDetails("max_output_tokens")
            case FinishReason.CONTENT_FILTER:
                return IncompleteDetails("content_filter")
            case FinishReason.REFUSAL if not self._has_refused:
                return IncompleteDetails("content_filter")  # the provider stopped it; the model had not declined
            case FinishReason.PAUSE:
                return IncompleteDetails(None)
            case _:
                return None

    @property
    def _has_refused(self) -> bool:
        return any(part.kind == "refusal" for item in self.items for part in item.parts)

    @property
    def sealed_items(self) -> list[OutputItem]:
        """The output with what only its provider can read, whether the caller asked for that or not."""
        return [item.document(shows_sealed=True) for item in self.items]

    @property
    def output_messages(self) -> tuple[Message, ...]:
        """The turn as the next request needs it."""
        turn = AssistantTurn()
        for item in self.items:
            item.say_in(turn)
        return tuple(turn.end())
