"""Deltas to items: where items begin and end, and what the hooks hear of it. Events: test_answers.py."""

from collections.abc import Sequence

from mrproxy.canonical.conversation import Text, ToolCall
from mrproxy.canonical.deltas import (
    Delta,
    Failure,
    Finish,
    FinishReason,
    Report,
    TextDelta,
    ThinkingDelta,
    TokenReport,
    ToolCallArguments,
    ToolCallBegin,
)
from mrproxy.dialects.responses.documents import TokenLogprob
from mrproxy.dialects.responses.output import Assembly
from mrproxy.dialects.responses.progress import ItemInProgress, PartInProgress


class Heard(Assembly):
    """Writes down what the hooks are told."""

    def __init__(self) -> None:
        super().__init__("r", shows_sealed=False)
        self.heard: list[str] = []

    def on_item_added(self, item: ItemInProgress) -> None:
        self.heard.append(f"+{item.id}")

    def on_part_added(self, item: ItemInProgress, part: PartInProgress) -> None:
        self.heard.append(f"+{item.id}.{part.index}")

    def on_said(self, part: PartInProgress, text: str, logprobs: Sequence[TokenLogprob]) -> None:
        self.heard.append(text)

    def on_called(self, item: ItemInProgress, fragment: str) -> None:
        self.heard.append(f"{item.id}:{fragment}")

    def on_part_done(self, item: ItemInProgress, part: PartInProgress) -> None:
        self.heard.append(f"-{item.id}.{part.index}")

    def on_item_done(self, item: ItemInProgress) -> None:
        self.heard.append(f"-{item.id} {item.status}")


def heard(*deltas: Delta) -> list[str]:
    assembly = Heard()
    assembly.assemble(deltas)
    assembly.end_items()
    return assembly.heard


def test_everything_that_begins_ends_once() -> None:
    assert heard(ThinkingDelta("t"), TextDelta("a"), ToolCallBegin(0, "c", "f"), ToolCallArguments(0, "{}")) == [
        *("+rs_r_0", "+rs_r_0.0", "t", "-rs_r_0.0", "-rs_r_0 completed"),
        *("+msg_r_1", "+msg_r_1.0", "a", "-msg_r_1.0", "-msg_r_1 completed"),
        *("+fc_r_2", "fc_r_2:{}", "-fc_r_2 completed"),
    ]


def test_calls_that_are_not_whole_wait_for_their_rest() -> None:
    assert heard(
        ToolCallBegin(0, "c", "f"),
        ToolCallArguments(0, "{"),
        ToolCallBegin(1, "d", "g"),
        ToolCallArguments(0, "}"),
        Finish(FinishReason.TOOL_CALLS),
    ) == [
        *("+fc_r_0", "fc_r_0:{", "+fc_r_1", "fc_r_0:}"),
        *("-fc_r_0 completed", "fc_r_1:{}", "-fc_r_1 completed"),
    ]


def test_what_was_open_when_the_answer_was_cut_is_incomplete() -> None:
    cut = Finish(FinishReason.LENGTH)
    assert heard(ThinkingDelta("t"), cut)[-1] == "-rs_r_0 incomplete"
    assert heard(ToolCallBegin(0, "c", "f"), ToolCallArguments(0, "{"), cut)[-1] == "-fc_r_0 incomplete"
    assert heard(ToolCallBegin(0, "c", "f"), ToolCallArguments(0, "{}"), cut)[-1] == "-fc_r_0 completed"


def test_an_answer_that_breaks_off_ends_in_silence() -> None:
    assembly = Heard()
    assembly.assemble([TextDelta("a"), Failure("gone")])
    assembly.break_off()
    assert assembly.heard == ["+msg_r_0", "+msg_r_0.0", "a"]
    assert assembly.failure == "gone"
    assert assembly.items[0].status == "incomplete"


def test_the_last_report_counts() -> None:
    assembly = Heard()
    assembly.assemble([Report(TokenReport(1, 1)), Report(TokenReport(1, 2))])
    assert assembly.tokens == TokenReport(1, 2)


def test_the_turn_is_what_the_next_request_needs() -> None:
    assembly = Heard()
    assembly.assemble([TextDelta("a"), TextDelta("b"), ToolCallBegin(0, "c", "f")])
    assembly.end_items()
    (message,) = assembly.output_messages
    assert message.parts == (Text("ab"), ToolCall("c", "f", "{}"))
    assert Heard().output_messages == ()
