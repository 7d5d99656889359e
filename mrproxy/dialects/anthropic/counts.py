"""Pure. Anthropic's `usage`, both ways, and how the counts of a stream add up.

`input_tokens` leaves out what a cache gave (`cache_read_input_tokens`) or took (`cache_creation_input_tokens`): a
prompt is the sum of the three. Counts in a stream are cumulative: a later one replaces an earlier one, but a zero
replaces nothing, since engines write zeros for what they do not know (vLLM and Ollama in `message_start`).
Source: Anthropic API reference, "Streaming messages" and "Prompt caching" (2026).
"""

from typing import Annotated

import msgspec

from mrproxy.canonical.deltas import TokenReport
from mrproxy.dialects.unreadable import UNREADABLE

# Whatever an engine says, the ledger and the journal get a number that fits them.
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class OutputDetails(msgspec.Struct, gc=False):
    thinking_tokens: Count | None = None


class Counts(msgspec.Struct, gc=False, omit_defaults=True):
    """None where it was not said."""

    input_tokens: Count | None = None
    output_tokens: Count | None = None
    cache_read_input_tokens: Count | None = None
    cache_creation_input_tokens: Count | None = None
    output_tokens_details: OutputDetails | None = None

    @property
    def prompt_tokens(self) -> int | None:
        """No prompt has no tokens: a zero stands for "not known"."""
        read, written = self.cache_read_input_tokens or 0, self.cache_creation_input_tokens or 0
        return (self.input_tokens or 0) + read + written or None

    def merge(self, later: "Counts") -> None:
        for name in Counts.__struct_fields__:
            value = getattr(later, name)
            if value or (value is not None and getattr(self, name) is None):
                setattr(self, name, value)

    def report(self) -> TokenReport:
        details = self.output_tokens_details
        return TokenReport(
            prompt_tokens=self.prompt_tokens,
            completion_tokens=self.output_tokens,
            cached_tokens=self.cache_read_input_tokens,
            cache_write_tokens=self.cache_creation_input_tokens,
            reasoning_tokens=details.thinking_tokens if details is not None else None,
        )


_counts = msgspec.json.Decoder(Counts)


def read_counts(usage: msgspec.Raw) -> Counts:
    """What can be read of a `usage` object; a broken one ends no answer."""
    try:
        return _counts.decode(usage)
    except UNREADABLE:
        return Counts()


def counts_of(tokens: TokenReport) -> Counts:
    """The other way. Both totals are always said, as the SDK's types require; zero where the engine did not say."""
    read, written = tokens.cached_tokens, tokens.cache_write_tokens
    prompt = tokens.prompt_tokens or 0
    return Counts(
        input_tokens=max(0, prompt - (read or 0) - (written or 0)),
        output_tokens=tokens.completion_tokens or 0,
        cache_read_input_tokens=read,
        cache_creation_input_tokens=written,
        output_tokens_details=OutputDetails(tokens.reasoning_tokens) if tokens.reasoning_tokens is not None else None,
    )
