"""Pure. The ledger and its entries: what one request reserves before it runs, and what it cost when it ends.

1. `open_entry` reserves in the accounts of the caller's key and of the key's user, or raises Refused.
2. The entry is a `with` block. Whatever leaves the block without having been settled is refunded.
3. settle and refund work once; the first one counts.
4. `load` takes over a new snapshot between two requests; accounts that stay keep their state, entries that are open
   end in the accounts in which they began.

Not here: the journal. What was spent before this process began is told to the constructor (`ledger/spent.py`).
Read next: `mrproxy/lifecycle.py`, the caller; `mrproxy/ledger/accounts.py`, the sums.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol, Self

from mrproxy.errors import Code, Refused
from mrproxy.ledger.accounts import Account, AccountStatistics, Owner, reserve
from mrproxy.ledger.bucket import Bucket
from mrproxy.link.snapshot import KeySpec, Limits, UserSpec

_NOTHING: Mapping[str, int] = {}

_REQUEST_LINES = (
    b"x-ratelimit-limit-requests: %d\r\nx-ratelimit-remaining-requests: %d\r\nx-ratelimit-reset-requests: %dms\r\n"
)
_TOKEN_LINES = _REQUEST_LINES.replace(b"requests", b"tokens")
_ALL_LINES = _REQUEST_LINES + _TOKEN_LINES


class Caller(Protocol):
    """All the ledger asks of an identified caller."""

    @property
    def key_id(self) -> str: ...


class Entry:
    """One request's reservation; a context manager. It has ended when it has no accounts any more."""

    __slots__ = ("_accounts", "reserved_tokens")

    def __init__(self, accounts: tuple[Account, ...], reserved_tokens: int) -> None:
        self._accounts = accounts
        self.reserved_tokens = reserved_tokens

    @property
    def is_open(self) -> bool:
        """Neither settled nor refunded yet."""
        return bool(self._accounts)

    def settle(self, prompt_tokens: int | None, completion_tokens: int | None) -> int:
        """The request ran; the tokens charged (0 if it had ended before).

        If nobody counted anything (both None) the estimate stands: uncounted is not free.
        """
        accounts = self._accounts
        if not accounts:
            return 0
        self._accounts = ()
        reserved = self.reserved_tokens
        if prompt_tokens is None and completion_tokens is None:
            true_tokens = reserved
        else:
            true_tokens = (prompt_tokens or 0) + (completion_tokens or 0)
            if true_tokens < 0:  # a backend's nonsense must not be a gift
                true_tokens = 0
        for account in accounts:
            account.settle(reserved, true_tokens)
        return true_tokens

    def refund(self) -> None:
        """The request never ran: everything as it was, the request count included."""
        accounts = self._accounts
        self._accounts = ()
        for account in accounts:
            account.refund(self.reserved_tokens)

    def hand_over(self) -> "Entry":
        """The same reservation, as a new entry; this one has ended. For what is settled after its `with` block."""
        accounts, self._accounts = self._accounts, ()
        return Entry(accounts, self.reserved_tokens)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._accounts:
            self.refund()


class Ledger:
    """All accounts of one worker."""

    __slots__ = ("_keys", "_spent_by_key_id", "_spent_by_user", "_standings", "_users")

    def __init__(
        self, spent_by_key_id: Mapping[str, int] = _NOTHING, spent_by_user: Mapping[str, int] = _NOTHING
    ) -> None:
        self._spent_by_key_id = dict(spent_by_key_id)
        self._spent_by_user = dict(spent_by_user)
        self._keys: dict[str, Account] = {}
        self._users: dict[str, Account] = {}
        # key id → the accounts a request of that key reserves in: one lookup per request
        self._standings: dict[str, tuple[Account, ...]] = {}

    def load(self, keys: Iterable[KeySpec], users: Iterable[UserSpec], now: float) -> None:
        """Take over the keys and users of a snapshot; the limits of users are complete (the group's filled in)."""
        keys = tuple(keys)
        limits = {user.name: user.limits for user in users}
        for key in keys:
            if key.user is not None:
                limits.setdefault(key.user, Limits())
        self._users = _taken_over(Owner.USER, self._users, limits, self._spent_by_user, now)
        by_key_id = {key.id: key.limits for key in keys}
        self._keys = _taken_over(Owner.KEY, self._keys, by_key_id, self._spent_by_key_id, now)
        self._standings = {
            key.id: (self._keys[key.id],) if key.user is None else (self._keys[key.id], self._users[key.user])
            for key in keys
        }

    def open_entry(self, caller: Caller, estimated_tokens: int, now: float) -> Entry:
        """Reserve; raises Refused with `Retry-After` and the `x-ratelimit-*` headers, and then nothing is reserved."""
        try:
            accounts = self._standings[caller.key_id]
            reserve(accounts, estimated_tokens, now)
        except KeyError:
            # The key was good when the head was read and was revoked while the body came in.
            raise Refused(Code.INVALID_KEY, "The API key has been revoked.") from None
        except Refused as refusal:
            refusal.headers = self.ratelimit_header_pairs(caller, now)
            raise
        return Entry(accounts, estimated_tokens)

    def ratelimit_headers(self, caller: Caller, now: float) -> bytes:
        """Header lines in OpenAI's words, each with its line end; empty if neither key nor user has such a limit.

        Of key and user, the one with less left is told. Reset: until all of it is back, as a Go duration.
        """
        accounts = self._standings.get(caller.key_id)
        if accounts is None:
            return b""
        requests = tokens = None
        for account in accounts:
            if account.is_limited:
                # right after `open_entry` all levels are of this very moment
                bucket = account.requests
                if bucket is not None:
                    if bucket.at != now:
                        bucket.refill(now)
                    if requests is None or bucket.level < requests.level:
                        requests = bucket
                bucket = account.tokens
                if bucket is not None:
                    if bucket.at != now:
                        bucket.refill(now)
                    if tokens is None or bucket.level < tokens.level:
                        tokens = bucket
        if requests is None:
            return b"" if tokens is None else _TOKEN_LINES % _figures(tokens)
        if tokens is None:
            return _REQUEST_LINES % _figures(requests)
        return _ALL_LINES % (*_figures(requests), *_figures(tokens))

    def ratelimit_header_pairs(self, caller: Caller, now: float) -> tuple[tuple[bytes, bytes], ...]:
        """The same as pairs, for a refusal."""
        lines = self.ratelimit_headers(caller, now).split(b"\r\n")[:-1]
        pairs = [line.split(b": ", 1) for line in lines]
        return tuple((name, value) for name, value in pairs)

    def statistics(self, now: float) -> tuple[AccountStatistics, ...]:
        """Every account; `in_flight` and `reserved_tokens` are zero when no entry is open."""
        return tuple(account.statistics(now) for account in (*self._keys.values(), *self._users.values()))


def _taken_over(
    owner: Owner, present: dict[str, Account], limits: Mapping[str, Limits], spent: dict[str, int], now: float
) -> dict[str, Account]:
    """The accounts for `limits`; what vanishing ones have spent is kept in `spent`, should they come back."""
    accounts = {}
    for name, account in present.items():
        spent[name] = account.spent_tokens
    for name, wanted in limits.items():
        account = present.get(name) or Account(owner, name, wanted, now, spent.get(name, 0))
        account.apply(wanted, now)
        accounts[name] = account
    return accounts


def _figures(bucket: Bucket) -> tuple[int, float, float]:
    """Limit, remaining, and milliseconds until full; `%d` cuts the fractions off."""
    limit, left = bucket.per_minute, bucket.level
    return limit, max(0.0, left), ((limit - left) * 60_000.0 / limit if limit else 0.0)
