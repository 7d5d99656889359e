"""Pure. What one key, user or group may still do: requests and tokens per minute, requests at once, a token budget.

1. `reserve` takes all that one request may need, from all its accounts, or nothing.
2. Each reservation ends exactly once: settled with the truth, or refunded as if it had never been. `entry.py` sees
   to "exactly once"; here the sums just balance.
3. Requests at once and tokens spent are kept for every account, limited or not, so a reload may add or take away
   any limit while requests run.
4. Rates count tokens as they are; budgets count them as they are charged, which for some models is another number.
5. A monthly budget is a sum over a life, too: it ends at what had been spent when the month began, and the budget.

Read next: `mrproxy/ledger/entry.py`.
"""

import enum
import math
from dataclasses import dataclass

from mrproxy.errors import Code, Refused
from mrproxy.ledger.bucket import Bucket
from mrproxy.link.snapshot import Limits

# A spent budget and a limit of zero do not mend themselves: an administrator must act, so "ask again in an hour".
_HOPELESS_SECONDS = 3600.0
# A slot of a concurrency limit frees itself when some request ends; nobody knows when. OpenAI's SDKs wait 0.5 to 8 s.
_CONCURRENCY_RETRY_SECONDS = 1.0
MONTHLY = "monthly"


class Owner(enum.StrEnum):
    """Whose limits they are, in the words of the error message."""

    KEY = "key"
    USER = "user"
    GROUP = "group"


@dataclass(frozen=True, slots=True)
class Shortage:
    """Why an account cannot take one more request."""

    code: Code
    explanation: str
    wait_seconds: float


@dataclass(frozen=True, slots=True)
class AccountStatistics:
    """One account as of now; None where there is no such limit."""

    owner: Owner
    name: str
    in_flight: int
    reserved_tokens: int
    spent_tokens: int
    requests_remaining: float | None
    tokens_remaining: float | None
    budget_remaining: int | None


class Account:
    """Limits and state of one key, user or group.

    `budget_tokens` is what `spent_tokens` and `reserved_tokens` may come to. `spent_before` was spent before this
    process counted, and `spent_last_month` before the month began. What other workers hold at this moment
    (`elsewhere_...`) is taken off what may be held here.
    """

    __slots__ = (
        "budget_tokens", "concurrent_requests", "elsewhere_in_flight", "elsewhere_reserved_tokens", "in_flight",
        "is_limited", "limits", "name", "owner", "requests", "reserved_tokens", "spent_before", "spent_last_month",
        "spent_tokens", "tokens",
    )  # fmt: skip

    def __init__(
        self, owner: Owner, name: str, limits: Limits, now: float, spent_tokens: int = 0, spent_last_month: int = 0
    ) -> None:
        self.owner = owner
        self.name = name
        self.in_flight = self.elsewhere_in_flight = 0
        self.reserved_tokens = self.elsewhere_reserved_tokens = 0
        self.spent_tokens = self.spent_before = spent_tokens
        self.spent_last_month = spent_last_month
        self.requests: Bucket | None = None
        self.tokens: Bucket | None = None
        self.apply(limits, now)

    def apply(self, limits: Limits, now: float) -> None:
        """Take over changed limits; what is in flight, spent and left stays."""
        self.limits = limits
        self.requests = _adapted(self.requests, limits.requests_per_minute, now)
        self.tokens = _adapted(self.tokens, limits.tokens_per_minute, now)
        self.is_limited = limits != Limits()
        self.refresh()

    def refresh(self) -> None:
        """After a change of limits, of the month, or of what other workers hold."""
        limits = self.limits
        at_once, budget = limits.concurrent_requests, limits.token_budget
        self.concurrent_requests = math.inf if at_once is None else at_once - self.elsewhere_in_flight
        self.budget_tokens: float = math.inf
        if budget is not None:
            since = self.spent_last_month if limits.budget_period == MONTHLY else 0
            self.budget_tokens = since + budget - self.elsewhere_reserved_tokens

    def begin_month(self) -> None:
        self.spent_last_month = self.spent_tokens
        self.refresh()

    def shortage(self, tokens: int, now: float, budget_tokens: int) -> Shortage | None:
        """Why one request of `tokens` cannot be taken now, None if it can; nothing is taken."""
        if self.in_flight >= self.concurrent_requests:
            return self._too_many_at_once()
        if self.spent_tokens + self.reserved_tokens + budget_tokens > self.budget_tokens:
            return self._too_little_budget(budget_tokens)
        for code, unit, bucket, amount in (
            (Code.REQUEST_LIMIT, "requests", self.requests, 1),
            (Code.TOKEN_LIMIT, "tokens", self.tokens, tokens),
        ):
            if bucket is not None and (wait_seconds := bucket.wait(amount, now)):
                return self._too_fast(code, bucket, unit, wait_seconds)
        return None

    def settle(self, reserved_tokens: int, true_tokens: int) -> None:
        """The request took place and cost this much."""
        self.in_flight -= 1
        self.reserved_tokens -= reserved_tokens
        self.spent_tokens += true_tokens
        bucket = self.tokens
        if bucket is not None:
            bucket.level += reserved_tokens - true_tokens

    def settle_weighted(
        self, reserved_tokens: int, true_tokens: int, reserved_budget_tokens: int, charged_tokens: int
    ) -> None:
        """The same where a budget is charged another number than the true one."""
        self.settle(reserved_tokens, true_tokens)
        self.reserved_tokens += reserved_tokens - reserved_budget_tokens
        self.spent_tokens += charged_tokens - true_tokens

    def refund(self, reserved_tokens: int, reserved_budget_tokens: int) -> None:
        """The request did not take place."""
        self.in_flight -= 1
        self.reserved_tokens -= reserved_budget_tokens
        if self.tokens is not None:
            self.tokens.level += reserved_tokens
        if self.requests is not None:
            self.requests.level += 1.0

    def charge(self, tokens: int) -> None:
        """Of a request that held nothing."""
        self.spent_tokens += tokens

    def statistics(self, now: float) -> AccountStatistics:
        left = self.budget_tokens - self.spent_tokens - self.reserved_tokens
        return AccountStatistics(
            owner=self.owner,
            name=self.name,
            in_flight=self.in_flight,
            reserved_tokens=self.reserved_tokens,
            spent_tokens=self.spent_tokens,
            requests_remaining=None if self.requests is None else self.requests.remaining(now),
            tokens_remaining=None if self.tokens is None else self.tokens.remaining(now),
            budget_remaining=None if left == math.inf else int(left),
        )

    def _too_many_at_once(self) -> Shortage:
        text = f"the {self.owner} may have {self.limits.concurrent_requests} requests in flight at once, and has"
        hopeless = not self.limits.concurrent_requests
        return Shortage(Code.CONCURRENCY_LIMIT, text, _HOPELESS_SECONDS if hopeless else _CONCURRENCY_RETRY_SECONDS)

    def _too_little_budget(self, tokens: int) -> Shortage:
        limits = self.limits
        left = max(0, self.budget_tokens - self.spent_tokens - self.reserved_tokens)
        budget = "monthly budget" if limits.budget_period == MONTHLY else "budget"
        text = f"the {self.owner}'s {budget} of {limits.token_budget} tokens has {left} left and this may take {tokens}"
        # While others are in flight, what they reserved and do not use comes back soon.
        soon = self.spent_tokens + tokens <= self.budget_tokens + self.elsewhere_reserved_tokens
        return Shortage(Code.BUDGET_EXHAUSTED, text, _CONCURRENCY_RETRY_SECONDS if soon else _HOPELESS_SECONDS)

    def _too_fast(self, code: Code, bucket: Bucket, unit: str, wait_seconds: float) -> Shortage:
        text = f"the {self.owner} may use {bucket.per_minute} {unit} per minute"
        return Shortage(code, text, min(wait_seconds, _HOPELESS_SECONDS))


def reserve(accounts: tuple[Account, ...], tokens: int, now: float, budget_tokens: int) -> None:
    """Reserve one request and `tokens` (of budgets `budget_tokens`) in all accounts or in none.

    Raises Refused, without headers.

    Each account is checked and taken from here, in place, without a call: it stands on the path of every request, and
    was a tenth of it.
    """
    for account in accounts:
        if account.is_limited:
            if (
                account.in_flight >= account.concurrent_requests
                or account.spent_tokens + account.reserved_tokens + budget_tokens > account.budget_tokens
            ):
                raise _refusal(account, accounts, tokens, now, budget_tokens)
            requests = account.requests
            if requests is not None:
                level = requests.level + (now - requests.at) * requests.per_second
                if level > requests.capacity:
                    level = requests.capacity
                if level < 1.0:
                    raise _refusal(account, accounts, tokens, now, budget_tokens)
                requests.level = level - 1.0
                requests.at = now
            bucket = account.tokens
            if bucket is not None:
                level = bucket.level + (now - bucket.at) * bucket.per_second
                if level > bucket.capacity:
                    level = bucket.capacity
                # more than a whole minute's worth needs a full bucket (`Bucket.wait`)
                if level < tokens and (level < bucket.capacity or not level):
                    if requests is not None:
                        requests.level += 1.0
                    raise _refusal(account, accounts, tokens, now, budget_tokens)
                bucket.level = level - tokens
                bucket.at = now
        account.in_flight += 1
        account.reserved_tokens += budget_tokens


def _refusal(refusing: Account, accounts: tuple[Account, ...], tokens: int, now: float, budget_tokens: int) -> Refused:
    """In words; what the accounts before it had given is given back."""
    for account in accounts:
        if account is refusing:
            break
        account.refund(tokens, budget_tokens)
    shortage = refusing.shortage(tokens, now, budget_tokens)
    assert shortage is not None
    return Refused(shortage.code, f"Limit reached: {shortage.explanation}.", retry_after_seconds=shortage.wait_seconds)


def _adapted(bucket: Bucket | None, per_minute: int | None, now: float) -> Bucket | None:
    if per_minute is None:
        return None
    if bucket is None:
        return Bucket(per_minute, now)
    bucket.resize(per_minute, now)
    return bucket
