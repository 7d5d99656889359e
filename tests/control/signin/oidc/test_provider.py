"""Asking a provider that does not answer, or too much."""

import gzip
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from mrproxy.config import Oidc
from mrproxy.control.signin.oidc import provider as module
from mrproxy.control.signin.oidc.provider import Provider, ProviderFailed, error_in, form_encoded

pytestmark = pytest.mark.slow

HEAD = b"HTTP/1.1 %d OK\r\nContent-Type: application/json\r\nConnection: close\r\n"


@asynccontextmanager
async def answering(make: Callable[[], bytes], asked: list[bytes] | None = None) -> AsyncIterator[Provider]:
    """A provider that answers every request with these bytes, and then closes or hangs. `asked` gets the requests."""

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            request = await stream.receive_some(65536)
            if asked is not None:
                asked.append(bytes(request))
            await stream.send_all(make())
            if make() == b"":
                await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, serve, 0)
        port = listeners[0].socket.getsockname()[1]
        yield Provider(Oidc(name="x", issuer=f"http://127.0.0.1:{port}", client_id="c"), lambda: 0.0)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (HEAD % 500 + b"\r\n", "answers 500"),
        (HEAD % 400 + b'\r\n{"error": "invalid_client"}', r"answers 400 \(invalid_client\)"),
        (HEAD % 302 + b"Location: http://127.0.0.1:1/\r\n\r\n", "answers 302"),
        (HEAD % 200 + b"\r\n<html>", "cannot be read"),
        (HEAD % 200 + b'\r\n{"x":' + b"[" * 100_000, "recursion"),
        (HEAD % 400 + b'\r\n{"x":' + b"[" * 100_000, "answers 400$"),
        (b"garbage\r\n\r\n", "RemoteProtocolError"),
        (HEAD % 200 + b"Content-Length: 100\r\n\r\n{", "RemoteProtocolError"),
    ],
)
async def test_what_is_no_answer_is_a_failure_in_one_line(answer: bytes, why: str) -> None:
    async with answering(lambda: answer) as provider:
        with pytest.raises(ProviderFailed, match=why) as caught:
            await provider.describe()
        assert "\n" not in str(caught.value)


async def test_an_answer_without_end_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ANSWER_BYTES", 1000)
    async with answering(lambda: HEAD % 200 + b"\r\n" + b"x" * 5000) as provider:
        with pytest.raises(ProviderFailed, match="the answer is too large"):
            await provider.describe()


async def test_an_answer_that_is_compressed_is_refused() -> None:
    packed = gzip.compress(b'{"issuer": "x"}')
    asked: list[bytes] = []
    async with answering(lambda: HEAD % 200 + b"Content-Encoding: gzip\r\n\r\n" + packed, asked) as provider:
        with pytest.raises(ProviderFailed, match=r"the answer is encoded \(gzip\)"):
            await provider.describe()
    assert b"accept-encoding: identity" in asked[0].lower()


async def test_a_provider_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CALL_SECONDS", 0.05)
    async with answering(lambda: b"") as provider:
        with pytest.raises(ProviderFailed, match="TooSlowError"):
            await provider.describe()


async def test_nobody_there_is_a_failure_too() -> None:
    provider = Provider(Oidc(name="x", issuer="http://127.0.0.1:9", client_id="c"), lambda: 0.0)
    with pytest.raises(ProviderFailed, match="ConnectError"):
        await provider.describe()


# Many at a time


class Slow(Provider):
    """Nothing is sent. `asks` are the addresses; each answers when `goes_on` is set, with `answers` of its address."""

    asks: list[str]
    answers: dict[str, bytes | ProviderFailed]
    goes_on: trio.Event
    most: int

    async def _ask(
        self,
        method: str,
        url: str,
        *,
        form: dict[str, str] | None = None,
        basic: tuple[str, str] | None = None,
        bearer: str | None = None,
    ) -> bytes:
        self.asks.append(url)
        self.most += 1
        await self.goes_on.wait()
        found = self.answers[url.rpartition("/")[2]]
        if isinstance(found, ProviderFailed):
            raise found
        return found


ISSUER = "https://login.example"
DESCRIPTION = msgspec.json.encode(
    {
        "issuer": ISSUER,
        "authorization_endpoint": f"{ISSUER}/authorize",
        "token_endpoint": f"{ISSUER}/token",
        "jwks_uri": f"{ISSUER}/jwks",
    }
)


@pytest.fixture
def slow() -> Slow:
    provider = Slow(Oidc(name="x", issuer=ISSUER, client_id="c"), lambda: 0.0)
    provider.asks, provider.goes_on, provider.most = [], trio.Event(), 0
    provider.answers = {"openid-configuration": DESCRIPTION, "token": ProviderFailed("invalid_grant")}
    return provider


async def describe(provider: Provider, said: list[str]) -> None:
    try:
        said.append((await provider.describe()).token_endpoint)
    except ProviderFailed as exc:
        said.append(str(exc))


async def redeem(provider: Provider, said: list[str]) -> None:
    with pytest.raises(ProviderFailed) as caught:
        await provider.claims_for("code", "verifier", "nonce", "https://here.example/back")
    said.append(str(caught.value))


async def test_a_provider_is_asked_once_however_many_want_to_know(slow: Slow, autojump_clock: trio.abc.Clock) -> None:
    said: list[str] = []
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(describe, slow, said)
        await wait_all_tasks_blocked()
        slow.goes_on.set()
    assert (len(slow.asks), said) == (1, [f"{ISSUER}/token"] * 20)


async def test_a_provider_that_fails_is_left_alone_for_some_seconds(slow: Slow, autojump_clock: trio.abc.Clock) -> None:
    said: list[str] = []
    slow.answers["openid-configuration"] = ProviderFailed("not today")
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(describe, slow, said)
        await wait_all_tasks_blocked()
        slow.goes_on.set()
    await trio.sleep(module.FAILED_SECONDS - 0.1)
    await describe(slow, said)
    assert (len(slow.asks), said) == (1, ["not today"] * 21)
    await trio.sleep(0.2)
    slow.answers["openid-configuration"] = b"<html>"
    await describe(slow, said)
    await describe(slow, said)
    assert len(slow.asks) == 2
    assert said[21] == said[22] != "not today"
    await trio.sleep(module.FAILED_SECONDS + 0.1)
    slow.answers["openid-configuration"] = DESCRIPTION
    await describe(slow, said)
    assert said[23] == f"{ISSUER}/token"


async def test_who_leaves_while_asking_leaves_nobody_waiting(slow: Slow) -> None:
    said: list[str] = []
    async with trio.open_nursery() as nursery:
        async with trio.open_nursery() as first:
            first.start_soon(describe, slow, [])
            await wait_all_tasks_blocked()
            nursery.start_soon(describe, slow, said)
            nursery.start_soon(describe, slow, said)
            await wait_all_tasks_blocked()
            first.cancel_scope.cancel()
        await wait_all_tasks_blocked()
        slow.goes_on.set()
    assert (len(slow.asks), said) == (2, [f"{ISSUER}/token"] * 2)


async def test_a_few_codes_are_redeemed_at_a_time_some_wait_and_others_are_sent_away(
    slow: Slow, autojump_clock: trio.abc.Clock
) -> None:
    slow.goes_on.set()
    await slow.describe()
    slow.goes_on, slow.asks = trio.Event(), []
    said: list[str] = []
    async with trio.open_nursery() as nursery:
        for _ in range(module.AT_A_TIME_AND_WAITING + 5):
            nursery.start_soon(redeem, slow, said)
        await wait_all_tasks_blocked()
        assert slow.asks == [f"{ISSUER}/token"] * module.AT_A_TIME
        assert said == [f"{ISSUER}/token: too many are asking"] * 5
        slow.goes_on.set()
    assert said[5:] == ["invalid_grant"] * module.AT_A_TIME_AND_WAITING
    await redeem(slow, said)
    assert said[-1] == "invalid_grant"


async def test_a_turn_at_the_tokens_is_not_waited_for_longer_than_for_an_answer(
    slow: Slow, autojump_clock: trio.abc.Clock
) -> None:
    slow.goes_on.set()
    await slow.describe()
    slow.goes_on = trio.Event()
    said: list[str] = []
    async with trio.open_nursery() as nursery:
        for _ in range(module.AT_A_TIME + 1):
            nursery.start_soon(redeem, slow, said)
        await trio.sleep(module.CALL_SECONDS + 0.1)
    assert said == [f"{ISSUER}/token: TooSlowError"] * (module.AT_A_TIME + 1)


def test_the_word_of_an_error_is_shown_if_it_is_one() -> None:
    assert error_in(b'{"error": "invalid_grant"}') == " (invalid_grant)"
    for other in (b"", b"[]", b'{"error": 1}', b'{"error": "a\\nb"}', b'{"error": "' + b"x" * 100 + b'"}'):
        assert error_in(other) == ""


def test_basic_is_encoded_as_in_a_form() -> None:
    assert form_encoded("a b:%&+ü") == "a+b%3A%25%26%2B%C3%BC"
