"""Pure. The ledger: the accounts of keys, users and groups, from which requests reserve.

1. `open_entry` reserves in the accounts of the caller's key, of the key's user, and in the pot of its group, if that
   has one; or it raises Refused.
2. An account is made when it is first needed. After `load` each is looked up again at its next request: those that
   stay keep their state, entries that are open end in the accounts in which they began.
3. Accounts of keys that are gone are kept: a budget is not new for a key that was away.

Not here: the journal. What was spent before this process began is told to the constructor (`spent.py`).
Read next: `mrproxy/ledger/entry.py`; `mrproxy/ledger/accounts.py`, the sums.
"""

from typing import Protocol

from mrproxy.errors import Code, Refused
from mrproxy.ledger.accounts import Account, AccountStatistics, Owner, reserve
from mrproxy.ledger.bucket import Bucket
from mrproxy.ledger.entry import Entry, ShadowEntry, WeightedEntry
from mrproxy.ledger.sums import Sums
from mrproxy.link.catalogue import Catalogue, catalogue_from
from mrproxy.link.snapshot import KeySpec, Limits, ModelSpec, Snapshot

_UNLIMITED = Limits()
_REQUEST_LINES = (
    b"x-ratelimit-limit-requests: %d\r\nx-ratelimit-remaining-requests: %d\r\nx-ratelimit-reset-requests: %dms\r\n"
)
_TOKEN_LINES = _REQUEST_LINES.replace(b"requests", b"tokens")
_ALL_LINES = _REQUEST_LINES + _TOKEN_LINES


class Caller(Protocol):
    """All the ledger asks of an identified caller."""

    @property
    def key_id(self) -> str: ...
    @property
    def digest(self) -> bytes: ...


class Ledger:
    """All accounts of one worker. `lifetime` and `this_month`: what was spent before, this month's part included."""

    __slots__ = ("_accounts", "_catalogue", "_lifetime", "_memberships", "_standings", "_this_month", "_weights")

    def __init__(self, lifetime: Sums | None = None, this_month: Sums | None = None) -> None:
        self._lifetime = lifetime or Sums()
        self._this_month = this_month or Sums()
        self._catalogue = catalogue_from(Snapshot(generation=0, created_utc=0.0))
        self._accounts: dict[Owner, dict[str, Account]] = {owner: {} for owner in Owner}
        # key id → the accounts a request of that key reserves in: one lookup per request
        self._standings: dict[str, tuple[Account, ...]] = {}
        # key id → its group, and what the key had spent when it came into it: for a pot that comes later
        self._memberships: dict[str, tuple[str, int]] = {}
        # of models whose tokens are more or less than tokens to a budget
        self._weights: dict[str, float] = {}

    def load(self, catalogue: Catalogue) -> None:
        """Take over a snapshot, however large, at once."""
        self._catalogue = catalogue
        self._standings = {}
        self._weights = _weights_of(catalogue.head.models)

    def begin_month(self) -> None:
        """Monthly budgets are whole again."""
        self._this_month = Sums()
        for accounts in self._accounts.values():
            for account in accounts.values():
                account.begin_month()

    def open_entry(self, caller: Caller, estimated_tokens: int, now: float, model: str = "") -> Entry:
        """Reserve; raises Refused with `Retry-After` and the `x-ratelimit-*` headers, and then nothing is reserved."""
        try:
            accounts = self._standings[caller.key_id]
            if self._weights and model in self._weights:
                entry = WeightedEntry(accounts, estimated_tokens, self._weights[model])
                reserve(accounts, estimated_tokens, now, entry.reserved_budget_tokens)
                return entry
            reserve(accounts, estimated_tokens, now, estimated_tokens)
        except KeyError:
            self._stand(caller, now)
            return Ledger.open_entry(self, caller, estimated_tokens, now, model)
        except Refused as refusal:
            refusal.headers = self.ratelimit_header_pairs(caller, now)
            raise
        return Entry(accounts, estimated_tokens)

    def open_in_shadow(self, caller: Caller, estimated_tokens: int, model: str = "") -> Entry:
        """For a request that `open_entry` has just refused, and that is served all the same."""
        return ShadowEntry(self._standings[caller.key_id], estimated_tokens, self._weights.get(model, 1.0))

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
        """Every account that was ever needed; `in_flight` and `reserved_tokens` are zero when no entry is open."""
        return tuple(account.statistics(now) for accounts in self._accounts.values() for account in accounts.values())

    # Accounts

    def _stand(self, caller: Caller, now: float) -> None:
        """Find the accounts of a key. Raises Refused: it was good when the head was read, and was revoked since."""
        key = self._catalogue.find_key(caller.digest)
        if key is None:
            raise Refused(Code.INVALID_KEY, "The API key has been revoked.")
        accounts = [self._account(Owner.KEY, key.id, key.limits, now)]
        user = self._catalogue.find_user(key.user) if key.user is not None else None
        if key.user is not None:
            accounts.append(self._account(Owner.USER, key.user, _UNLIMITED if user is None else user.limits, now))
        group_name = key.group if user is None else user.group
        self._note_group(key, group_name)
        group = self._catalogue.groups.get(group_name)
        shared = _UNLIMITED if group is None else group.shared
        # One that was taken away goes on counting: it may come back.
        if shared != _UNLIMITED or group_name in self._accounts[Owner.GROUP]:
            accounts.append(self._account(Owner.GROUP, group_name, shared, now))
        self._standings[caller.key_id] = tuple(accounts)

    def _account(self, owner: Owner, name: str, limits: Limits, now: float) -> Account:
        account = self._accounts[owner].get(name)
        if account is None:
            spent, this_month = self._spent_by_group(name) if owner is Owner.GROUP else self._spent_by(owner, name)
            account = self._make_account(owner, name, limits, now, spent, spent - this_month)
            self._accounts[owner][name] = account
        elif account.limits != limits:
            account.apply(limits, now)
        return account

    def _make_account(
        self, owner: Owner, name: str, limits: Limits, now: float, spent: int, spent_last_month: int
    ) -> Account:
        return Account(owner, name, limits, now, spent, spent_last_month)

    def _spent_by(self, owner: Owner, name: str) -> tuple[int, int]:
        """In all, and this month, before this process began."""
        if owner is Owner.KEY:
            return self._lifetime.by_key_id.get(name, 0), self._this_month.by_key_id.get(name, 0)
        if owner is Owner.USER:
            return self._lifetime.by_user.get(name, 0), self._this_month.by_user.get(name, 0)
        return self._lifetime.by_group.get(name, 0), self._this_month.by_group.get(name, 0)

    def _spent_by_group(self, name: str) -> tuple[int, int]:
        """The same up to now: there was no account while the group had no pot, but its keys have theirs."""
        spent, this_month = self._spent_by(Owner.GROUP, name)
        for key_id, (group, spent_at_entry) in self._memberships.items():
            if group == name:
                account = self._accounts[Owner.KEY][key_id]
                spent += account.spent_tokens - spent_at_entry
                this_month += account.spent_tokens - max(spent_at_entry, account.spent_last_month)
        return spent, this_month

    def _note_group(self, key: KeySpec, group: str) -> None:
        """A key that moves leaves what it has spent behind."""
        account = self._accounts[Owner.KEY][key.id]
        former = self._memberships.get(key.id)
        if former is not None and former[0] != group:
            left, spent_at_entry = former
            for sums, since in (
                (self._lifetime, spent_at_entry),
                (self._this_month, max(spent_at_entry, account.spent_last_month)),
            ):
                sums.by_group[left] = sums.by_group.get(left, 0) + account.spent_tokens - since
        if former is None or former[0] != group:
            self._memberships[key.id] = group, account.spent_tokens


def _weights_of(models: tuple[ModelSpec, ...]) -> dict[str, float]:
    """Ollama takes `name` for `name:latest`: it is one model under both."""
    weights = {model.name: model.budget_weight for model in models}
    for model in models:
        name = model.name
        other = name.removesuffix(":latest") if name.endswith(":latest") else f"{name}:latest"
        weights.setdefault(other, model.budget_weight)
    return {name: weight for name, weight in weights.items() if weight != 1.0}


def _figures(bucket: Bucket) -> tuple[int, float, float]:
    """Limit, remaining, and milliseconds until full; `%d` cuts the fractions off."""
    limit, left = bucket.per_minute, bucket.level
    return limit, max(0.0, left), ((limit - left) * 60_000.0 / limit if limit else 0.0)
