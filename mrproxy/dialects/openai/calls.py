"""Pure. Streamed tool calls put together again: which call does a fragment belong to?

OpenAI's rule is the index; engines bend it. Ollama's /v1 labelled every call of a turn 0 (ollama#15457, 2026), Gemini's
leaves the index out (openai-python#2806), some tails come with an index of their own (agno#8879), others with an id of
their own (poolsideai/pool#9), and names are repeated (LMDeploy#3412 compares engines). So, in this order:

    a known id          its call; but after a whole call, a name at another index begins one that shares its id
    a new id and a name a new call
    no id and a name    the call that its index points at if it has that name and is not whole, else a new call
    no name             the call that its index points at, else the last one
"""

import msgspec

from mrproxy.canonical.deltas import Delta, ToolCallArguments, ToolCallBegin
from mrproxy.dialects.unreadable import UNREADABLE


class Function(msgspec.Struct, gc=False):
    """Arguments are text; engines exist that send the object itself."""

    name: str | None = None
    arguments: str | dict[str, msgspec.Raw] | None = None

    @property
    def text(self) -> str:
        if isinstance(self.arguments, dict):
            return msgspec.json.encode(self.arguments).decode()
        return self.arguments or ""


class Fragment(msgspec.Struct, gc=False):
    index: int | None = None
    id: str | None = None
    function: Function | None = None


class Call:
    __slots__ = ("name", "number", "pieces")

    def __init__(self, number: int, name: str) -> None:
        self.number = number
        self.name = name
        self.pieces: list[str] = []

    def is_whole(self) -> bool:
        """Its arguments are a JSON object. Asked only where an engine is ambiguous."""
        if not self.pieces or not self.pieces[-1].rstrip().endswith("}"):
            return False
        self.pieces = ["".join(self.pieces)]
        try:
            msgspec.json.decode(self.pieces[0])
        except UNREADABLE:
            return False
        return True


class Calls:
    """The calls of one choice. `prefix` makes ids where the engine gives none."""

    __slots__ = ("_by_id", "_by_index", "_choice", "_last", "_prefix", "count", "held_bytes")

    def __init__(self, prefix: str, choice: int) -> None:
        self._prefix = prefix
        self._choice = choice
        self._by_id: dict[str, Call] = {}
        self._by_index: dict[int, Call] = {}
        self._last: Call | None = None
        self.count = 0
        self.held_bytes = 0

    def receive(self, fragment: Fragment) -> list[Delta]:
        function = fragment.function or Function()
        text = function.text
        call = self._find(fragment, function.name or "", text)
        deltas: list[Delta] = []
        if call is None:
            if not function.name and not text:
                return []  # an empty fragment of no call
            call = self._begin(fragment, function.name or "", deltas)
        elif fragment.id and fragment.id not in self._by_id:
            self._by_id[fragment.id] = call
        if fragment.index is not None:
            self._by_index[fragment.index] = call
        self._last = call
        if text:
            call.pieces.append(text)
            self.held_bytes += len(text)
            deltas.append(ToolCallArguments(call.number, text, self._choice))
        return deltas

    def receive_whole(self, fragment: Fragment) -> list[Delta]:
        """A call of a document: never part of another."""
        function = fragment.function or Function()
        deltas: list[Delta] = []
        call = self._begin(fragment, function.name or "", deltas)
        if text := function.text:
            deltas.append(ToolCallArguments(call.number, text, self._choice))
        return deltas

    def _find(self, fragment: Fragment, name: str, text: str) -> Call | None:
        known = self._by_id.get(fragment.id) if fragment.id else None
        if known is not None:
            is_other = name and fragment.index is not None and self._by_index.get(fragment.index) is not known
            return None if is_other and known.is_whole() else known
        pointed = self._last if fragment.index is None else self._by_index.get(fragment.index)
        if not name:
            return pointed or self._last
        if pointed is None or fragment.id:
            return None
        if name != pointed.name or (text.strip() and pointed.is_whole()):
            return None
        return pointed

    def _begin(self, fragment: Fragment, name: str, deltas: list[Delta]) -> Call:
        call = self._last = Call(self.count, name)
        self.count += 1
        identity = fragment.id if fragment.id not in self._by_id else None
        if not identity:
            identity = f"{self._prefix}{f'{self._choice}_' if self._choice else ''}{call.number}"
        self._by_id[identity] = call
        if fragment.id:
            self._by_id[fragment.id] = call  # its fragments follow under the id that it shares
        deltas.append(ToolCallBegin(call.number, identity, name, self._choice))
        return call


def call_prefix(request_id: str) -> str:
    return f"call_{request_id.replace('-', '')}_"
