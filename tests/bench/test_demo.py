"""The demo's parts, against mock engines without a gateway between; `make demo` itself is run by CI."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from bench.children import Child
from bench.demo import (
    ANSWER_TOKENS,
    Chat,
    Gateway,
    chat_by_ollama,
    chat_by_openai,
    is_ready,
    run_engine,
    show_chats,
    show_invitation,
    show_journal,
)


def plain() -> Console:
    return Console(file=io.StringIO(), width=200)


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def gateway(url: str) -> Gateway:
    nobody = Child("gateway", None, Path())  # type: ignore[arg-type]
    return Gateway(nobody, url, "mr_demo", Path())


@pytest.fixture(params=["vllm", "ollama"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str]]:
    with run_engine(request.param, tmp_path) as url:
        yield request.param, url


@pytest.mark.slow
def test_each_sdk_streams_an_answer_and_stamps_its_tokens(engine: tuple[str, str]) -> None:
    kind, url = engine
    console = plain()
    chat = (chat_by_openai if kind == "vllm" else chat_by_ollama)(gateway(url), console)
    assert 1 <= len(chat.stamps) <= ANSWER_TOKENS
    assert chat.stamps == sorted(chat.stamps)
    assert chat.tokens_per_second > 1
    assert 0 < chat.delay_ms < 1000
    assert "." * len(chat.stamps) in printed(console)


def test_speed_is_counted_between_the_first_and_the_last_token() -> None:
    chat = Chat("openai", "/v1", started_at=10.0, stamps=[10.5, 11.0, 11.5])
    chat.add("no stamp in it")
    del chat.stamps[-1]
    assert str(chat.delay_ms) == "nan"
    assert (chat.ttft_ms, chat.tokens_per_second) == (500.0, 2.0)


def test_an_empty_answer_has_no_speed_and_is_shown() -> None:
    console = plain()
    show_chats(console, [Chat("openai", "/v1", backend="b1", server_timing="queue;dur=0.1")])
    assert "nan ms" in printed(console)
    assert "b1" in printed(console)


def test_the_journal_is_shown_as_it_was_written() -> None:
    console = plain()
    record = json.loads(
        '{"user": "[red]u", "model": "m", "status": 200, "prompt_tokens": null, "usage_state": "absent"}'
    )
    show_journal(console, [record])
    assert "[red]u" in printed(console)
    assert "None" in printed(console)


def test_the_invitation_can_be_pasted_from_a_pipe() -> None:
    console = plain()
    show_invitation(console, gateway("http://127.0.0.1:8000"))
    assert "curl http://127.0.0.1:8000/v1/chat/completions -H 'Authorization: Bearer mr_demo' \\\n" in printed(console)


def test_a_gateway_that_is_not_there_is_not_ready() -> None:
    assert not is_ready("http://127.0.0.1:9")
