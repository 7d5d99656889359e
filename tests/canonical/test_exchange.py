"""The trace of a request: what it says before anything has happened."""

from mrproxy.canonical.exchange import CLIENT_DEPARTED_STATUS, Exchange, Usage, UsageState


def test_a_new_exchange_claims_nothing() -> None:
    exchange = Exchange(b"id-1", 5.0, "openai", "chat")
    assert (exchange.request_id, exchange.dialect, exchange.operation) == (b"id-1", "openai", "chat")
    assert (exchange.started_at, exchange.sent_at, exchange.first_byte_at) == (5.0, 5.0, None)
    assert (exchange.status, exchange.attempts, exchange.is_sent, exchange.usage) == (0, 0, False, None)
    assert exchange.usage_state is UsageState.ABSENT
    assert exchange.keep_alive


def test_exchanges_share_nothing() -> None:
    first, second = (Exchange(b"id", 0.0, "openai", "chat") for _ in range(2))
    first.status, first.model, first.usage = 200, "m", Usage(1, 2)
    assert (second.status, second.model, second.usage) == (0, "", None)


def test_the_journals_words_are_stable() -> None:
    assert list(UsageState) == ["exact", "counted", "partial", "estimated", "absent"]
    assert CLIENT_DEPARTED_STATUS == 499
