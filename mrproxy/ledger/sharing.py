"""Pure. The ledger of one worker of several: its accounts are everybody's, and it is told what the others take.

1. What another worker has taken is taken here, too: from the buckets, which may go below zero, and from budgets.
   What it holds at this moment is taken off what may be held here (`Account.refresh`).
2. Two workers that have not heard of each other yet may both give what is there once. How much that is at most, and
   why it does not add up, is derived in docs/limits.md.
3. Of workers that are older than this one the sums at the first message are known already: from the journal.

Read next: `mrproxy/link/shares.py`, the messages.
"""

from mrproxy.errors import Refused
from mrproxy.ledger.accounts import Account, Owner
from mrproxy.ledger.entry import Entry, SharedEntry
from mrproxy.ledger.ledger import Caller, Ledger
from mrproxy.ledger.sums import Sums
from mrproxy.link.shares import NOTHING, Bundle, Parcel, Report, Share
from mrproxy.link.snapshot import Limits

# Keys are told by their digest, by which everybody finds them; users and groups by their names.
_KEY_MARK = f"{Owner.KEY}#"


class SharedAccount(Account):
    """Counts what it gives, and notes that it did. `foreign_tokens` were charged by other workers."""

    __slots__ = ("ended_requests", "foreign_tokens", "held_tokens", "settled_tokens", "touched", "wire_name")

    ended_requests: int
    foreign_tokens: int
    held_tokens: int
    settled_tokens: int
    touched: set["SharedAccount"]
    wire_name: str

    def settle(self, reserved_tokens: int, true_tokens: int) -> None:
        super().settle(reserved_tokens, true_tokens)
        self.ended_requests += 1
        self.settled_tokens += true_tokens
        self.held_tokens -= reserved_tokens
        self.touched.add(self)

    def refund(self, reserved_tokens: int, reserved_budget_tokens: int) -> None:
        super().refund(reserved_tokens, reserved_budget_tokens)
        self.held_tokens -= reserved_tokens
        self.touched.add(self)

    def charge(self, tokens: int) -> None:
        super().charge(tokens)
        self.touched.add(self)

    def share(self) -> Share:
        return Share(
            self.ended_requests + self.in_flight,
            self.settled_tokens + self.held_tokens,
            self.spent_tokens - self.spent_before - self.foreign_tokens,
            self.in_flight,
            self.reserved_tokens,
        )

    def take_over(self, before: Share, share: Share, now: float) -> None:
        """What another worker took since `before`, and what it holds now."""
        for bucket, amount in (
            (self.requests, share.requests - before.requests),
            (self.tokens, share.tokens - before.tokens),
        ):
            if bucket is not None and amount:
                bucket.refill(now)
                bucket.give_back(-amount)
        charged_tokens = share.charged_tokens - before.charged_tokens
        self.spent_tokens += charged_tokens
        self.foreign_tokens += charged_tokens
        self.elsewhere_in_flight += share.in_flight - before.in_flight
        self.elsewhere_reserved_tokens += share.reserved_tokens - before.reserved_tokens
        self.refresh()


class SharedLedger(Ledger):
    """`epoch`: when this worker started, in any unit that all workers use."""

    __slots__ = ("_epoch", "_number", "_seen", "_touched")

    def __init__(self, epoch: int, lifetime: Sums | None = None, this_month: Sums | None = None) -> None:
        super().__init__(lifetime, this_month)
        self._epoch = epoch
        self._number = 0
        self._touched: set[SharedAccount] = set()
        # worker → its epoch, and its shares as they were taken over
        self._seen: dict[str, tuple[int, dict[str, Share]]] = {}

    def open_entry(self, caller: Caller, estimated_tokens: int, now: float, model: str = "") -> Entry:
        entry = super().open_entry(caller, estimated_tokens, now, model)
        if type(entry) is Entry:
            entry = SharedEntry(self._shared(caller), estimated_tokens)
        for account in self._shared(caller):
            account.held_tokens += estimated_tokens
            self._touched.add(account)
        return entry

    def exchange(self, parcel: Parcel, now: float) -> Report:
        """Take over what the others did; say what happened here since the last report that arrived."""
        for worker, bundle in parcel.others.items():
            self._take_over(worker, bundle, now)
        touched = self._touched
        if parcel.acknowledged != self._number:
            touched = {each for each in self._all_accounts() if each.share() != NOTHING}
        if touched:
            self._number += 1
        shares = {account.wire_name: account.share() for account in touched}
        self._touched.clear()
        return Report(self._epoch, self._number, shares)

    def _take_over(self, worker: str, bundle: Bundle, now: float) -> None:
        epoch, seen = self._seen.get(worker, (0, {}))
        is_known_already = False
        if epoch != bundle.epoch:
            self._release(seen, now)
            is_known_already = not epoch and bundle.epoch < self._epoch
            seen = {}
            self._seen[worker] = bundle.epoch, seen
        # Keys first: with a key come its user and its group.
        for name in sorted(bundle.shares, key=_comes_after_keys):
            share = bundle.shares[name]
            if is_known_already:
                seen[name] = share._replace(in_flight=0, reserved_tokens=0)
            before = seen.get(name, NOTHING)
            if share != before and (account := self._find(name, now)) is not None:
                account.take_over(before, share, now)
                seen[name] = share
        if bundle.is_gone:
            self._release(seen, now)

    def _release(self, seen: dict[str, Share], now: float) -> None:
        """Its sums stay; what it held is free."""
        for name, share in seen.items():
            if share.in_flight or share.reserved_tokens:
                rest = share._replace(in_flight=0, reserved_tokens=0)
                account = self._find(name, now)
                if account is not None:
                    account.take_over(share, rest, now)
                seen[name] = rest

    # Accounts, by the names that all workers know them by

    def _make_account(
        self, owner: Owner, name: str, limits: Limits, now: float, spent: int, spent_last_month: int
    ) -> SharedAccount:
        account = SharedAccount(owner, name, limits, now, spent, spent_last_month)
        account.ended_requests = account.foreign_tokens = account.held_tokens = account.settled_tokens = 0
        account.touched = self._touched
        account.wire_name = f"{owner}:{name}"
        return account

    def _stand(self, caller: Caller, now: float) -> None:
        super()._stand(caller, now)
        key_account = self._shared(caller)[0]
        key_account.wire_name = _KEY_MARK + caller.digest.hex()

    def _shared(self, caller: Caller) -> tuple[SharedAccount, ...]:
        return self._standings[caller.key_id]  # type: ignore[return-value]

    def _all_accounts(self) -> list[SharedAccount]:
        return [account for accounts in self._accounts.values() for account in accounts.values()]  # type: ignore[misc]

    def _find(self, wire_name: str, now: float) -> SharedAccount | None:
        """None: a key that this worker has not heard of, or that is gone; nobody can use it here."""
        if wire_name.startswith(_KEY_MARK):
            digest = bytes.fromhex(wire_name.removeprefix(_KEY_MARK))
            key = self._catalogue.find_key(digest)
            if key is None:
                return None
            if key.id not in self._standings:
                try:
                    self._stand(_Asked(key.id, digest), now)
                except Refused:
                    return None
            return self._standings[key.id][0]  # type: ignore[return-value]
        owner, _, name = wire_name.partition(":")
        return self._accounts[Owner(owner)].get(name)  # type: ignore[return-value]


def _comes_after_keys(wire_name: str) -> bool:
    return not wire_name.startswith(_KEY_MARK)


class _Asked:
    """A key that was used elsewhere."""

    __slots__ = ("digest", "key_id")

    def __init__(self, key_id: str, digest: bytes) -> None:
        self.key_id = key_id
        self.digest = digest
