"""Shell. Asking a provider: what it says about itself, its keys, a code's tokens, more about somebody.

Every call has a deadline and every answer a size; no redirect is followed. What a provider says about itself and its
keys are kept for an hour. A token by a key that we do not know makes us ask for the keys again, but not more often than
every few seconds: anybody can send a token with a key of his own.

Anybody can make us ask, without an account. So all who want to know what a provider says about itself share one
question, a failure is remembered for some seconds, and a few codes are redeemed at a time, while a few more wait.
"""

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import quote_plus

import httpx
import msgspec
import trio
from joserfc.jwk import Key

from mrproxy.config import Oidc
from mrproxy.control.signin.oidc.claims import (
    Claims,
    Expected,
    KeyUnknown,
    lacks,
    read_keys,
    verify_id_token,
    with_userinfo,
)
from mrproxy.control.signin.oidc.metadata import Metadata, MetadataRefused, discovery_url, read_metadata
from mrproxy.dialects.unreadable import UNREADABLE
from mrproxy.upstream.bounded import IDENTITY, AnswerRefused, read_bounded

CALL_SECONDS = 5.0
KEEP_SECONDS = 3600.0
KEYS_AGAIN_SECONDS = 10.0
# Somebody who tries again at once would only wait for the same failure.
FAILED_SECONDS = 3.0
# A provider redeems a code in some tenths of a second. Those that wait are a class that signs in at once.
AT_A_TIME = 4
AT_A_TIME_AND_WAITING = 32
MAX_ANSWER_BYTES = 1 << 20


class ProviderFailed(Exception):
    """It cannot be reached, or says what it should not. One line, for the log."""


class Tokens(msgspec.Struct, frozen=True):
    """RFC 6749 §5.1 and Core 1.0 §3.1.3.3; the rest is not read, and none is kept."""

    id_token: str
    access_token: str | None = None
    token_type: str = "Bearer"


@dataclass(slots=True)
class Provider:
    """One of `[[oidc]]`. `utc` is the wall clock; how old what we keep is, trio's clock tells."""

    config: Oidc
    utc: Callable[[], float]
    metadata: Metadata | None = None
    keys: tuple[Key, ...] = ()
    read_at: float = 0.0
    keys_at: float = 0.0
    context: ssl.SSLContext | None = field(default=None, repr=False)
    failure: str = ""
    failed_at: float = 0.0
    _describing: trio.Event | None = field(default=None, repr=False)
    _turns: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(AT_A_TIME), repr=False)

    async def describe(self) -> Metadata:
        """Raises ProviderFailed."""
        while self.metadata is None or trio.current_time() - self.read_at > KEEP_SECONDS:
            if self.failure and trio.current_time() - self.failed_at <= FAILED_SECONDS:
                raise ProviderFailed(self.failure)
            if self._describing is not None:
                await self._describing.wait()  # somebody else asks; if that is cancelled, the loop asks again
                continue
            self._describing = trio.Event()
            try:
                self.metadata = await self._describe()
                self.read_at, self.failure = trio.current_time(), ""
            except ProviderFailed as exc:
                self.failure, self.failed_at = str(exc), trio.current_time()
                raise
            finally:
                self._describing.set()
                self._describing = None
        return self.metadata

    async def _describe(self) -> Metadata:
        document = await self._ask("GET", discovery_url(self.config.issuer))
        try:
            return read_metadata(document, self.config.issuer)
        except (MetadataRefused, *UNREADABLE) as exc:
            raise ProviderFailed(str(exc)) from exc

    async def claims_for(self, code: str, verifier: str, nonce: str, redirect_uri: str) -> Claims:
        """The claims about who has come back with this code. Raises ProviderFailed, ClaimsRefused."""
        metadata = await self.describe()
        tokens = await self._redeem(metadata, code, verifier, redirect_uri)
        expected = Expected(metadata.issuer, self.config.client_id, nonce, self.utc(), tokens.access_token)
        claims = await self._verified(metadata, tokens.id_token, expected)
        if metadata.userinfo_endpoint is None or tokens.access_token is None or not lacks(claims, self.config):
            return claims
        more = await self._ask("GET", metadata.userinfo_endpoint, bearer=tokens.access_token)
        return with_userinfo(claims, json_of(more))

    async def _redeem(self, metadata: Metadata, code: str, verifier: str, redirect_uri: str) -> Tokens:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
            "client_id": self.config.client_id,
        }
        secret = self.config.client_secret
        basic = None
        if secret is not None and metadata.takes_basic:
            basic = (form_encoded(self.config.client_id), form_encoded(secret))
        elif secret is not None:
            form["client_secret"] = secret
        answer = await self._ask_in_turn(metadata.token_endpoint, form, basic)
        try:
            return msgspec.json.decode(answer, type=Tokens)
        except UNREADABLE as exc:
            raise ProviderFailed(f"its tokens cannot be read: {exc}") from exc

    async def _ask_in_turn(self, url: str, form: dict[str, str], basic: tuple[str, str] | None) -> bytes:
        asking = self._turns.statistics()
        if asking.borrowed_tokens + asking.tasks_waiting >= AT_A_TIME_AND_WAITING:
            raise ProviderFailed(f"{url[:200]}: too many are asking")
        try:
            with trio.fail_after(CALL_SECONDS):  # the turn and the call together
                async with self._turns:
                    return await self._ask("POST", url, form=form, basic=basic)
        except trio.TooSlowError as exc:
            raise ProviderFailed(f"{url[:200]}: {type(exc).__name__}") from exc

    async def _verified(self, metadata: Metadata, token: str, expected: Expected) -> Claims:
        """With the keys that we have, and else with those that there are now."""
        if trio.current_time() - self.keys_at <= KEEP_SECONDS:
            try:
                return verify_id_token(token, self.keys, expected)
            except KeyUnknown:
                if self.keys and trio.current_time() - self.keys_at < KEYS_AGAIN_SECONDS:
                    raise
        self.keys = read_keys(json_of(await self._ask("GET", metadata.jwks_uri)))
        self.keys_at = trio.current_time()
        return verify_id_token(token, self.keys, expected)

    async def _ask(
        self,
        method: str,
        url: str,
        *,
        form: dict[str, str] | None = None,
        basic: tuple[str, str] | None = None,
        bearer: str | None = None,
    ) -> bytes:
        """The body of an answer with status 200. Raises ProviderFailed, which names the place and no secret."""
        if self.context is None:
            self.context = ssl.create_default_context()
        headers = {"Accept": "application/json", **IDENTITY} | ({"Authorization": f"Bearer {bearer}"} if bearer else {})
        try:
            with trio.fail_after(CALL_SECONDS):
                async with (
                    httpx.AsyncClient(verify=self.context, timeout=None) as client,
                    client.stream(method, url, data=form, auth=basic, headers=headers) as answer,
                ):
                    body = await read_bounded(answer, MAX_ANSWER_BYTES)
        except AnswerRefused as exc:
            raise ProviderFailed(f"{url[:200]}: {exc}") from exc
        except (httpx.HTTPError, httpx.InvalidURL, trio.TooSlowError) as exc:
            raise ProviderFailed(f"{url[:200]}: {type(exc).__name__}") from exc
        if answer.status_code != httpx.codes.OK:
            raise ProviderFailed(f"{url[:200]} answers {answer.status_code}{error_in(body)}")
        return body


def json_of(body: bytes) -> object:
    try:
        return msgspec.json.decode(body)
    except UNREADABLE as exc:
        raise ProviderFailed("what it says is not JSON") from exc


def error_in(body: bytes) -> str:
    """RFC 6749 §5.2: a word, such as invalid_client."""
    try:
        word = msgspec.json.decode(body, type=dict[str, object]).get("error")
    except UNREADABLE:
        return ""
    return f" ({word})" if isinstance(word, str) and len(word) <= 64 and word.replace("_", "").isalnum() else ""


def form_encoded(text: str) -> str:
    """Before Basic, both are encoded as in a form (RFC 6749 §2.3.1)."""
    return quote_plus(text)
