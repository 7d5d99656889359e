"""Pure. The ledger's entries: what one request has reserved before it runs, and what it cost when it ends.

1. The entry is a `with` block. Whatever leaves the block without having been settled is refunded.
2. settle and refund work once; the first one counts.
3. An entry ends in the accounts in which it began, whatever was loaded since.

Read next: `ledger.py`, which opens them; `mrproxy/lifecycle.py`, the caller; `mrproxy/ledger/accounts.py`, the sums.
"""

from typing import Self

from mrproxy.ledger.accounts import Account


class Entry:
    """One request's reservation; a context manager. It has ended when it has no accounts any more.

    `charged_tokens` is what budgets were charged where that is not what was used.
    """

    __slots__ = ("_accounts", "reserved_tokens")
    charged_tokens: int | None = None

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
        given_back = reserved - true_tokens
        for account in accounts:  # `Account.settle`, in place: it stands on the path of every request
            account.in_flight -= 1
            account.reserved_tokens -= reserved
            account.spent_tokens += true_tokens
            bucket = account.tokens
            if bucket is not None:
                bucket.level += given_back
        return true_tokens

    def refund(self) -> None:
        """The request never ran: everything as it was, the request count included."""
        accounts = self._accounts
        self._accounts = ()
        for account in accounts:
            account.refund(self.reserved_tokens, self.reserved_tokens)

    def hand_over(self) -> "Entry":
        """The same reservation, as a new entry; this one has ended. For what is settled after its `with` block."""
        accounts, self._accounts = self._accounts, ()
        return self._again(accounts)

    def _again(self, accounts: tuple[Account, ...]) -> "Entry":
        return Entry(accounts, self.reserved_tokens)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._accounts:
            self.refund()


class SharedEntry(Entry):
    """Of accounts that note what happens to them (`sharing.py`)."""

    __slots__ = ()

    def settle(self, prompt_tokens: int | None, completion_tokens: int | None) -> int:
        accounts, self._accounts = self._accounts, ()
        if not accounts:
            return 0
        true_tokens = _true_tokens(prompt_tokens, completion_tokens, self.reserved_tokens)
        for account in accounts:
            account.settle(self.reserved_tokens, true_tokens)
        return true_tokens

    def _again(self, accounts: tuple[Account, ...]) -> Entry:
        return SharedEntry(accounts, self.reserved_tokens)


class WeightedEntry(Entry):
    """Of a model that takes more or less of a budget than it has tokens."""

    __slots__ = ("_weight", "charged_tokens", "reserved_budget_tokens")

    def __init__(self, accounts: tuple[Account, ...], reserved_tokens: int, weight: float) -> None:
        super().__init__(accounts, reserved_tokens)
        self._weight = weight
        self.reserved_budget_tokens = weighted(reserved_tokens, weight)
        self.charged_tokens: int | None = None

    def settle(self, prompt_tokens: int | None, completion_tokens: int | None) -> int:
        accounts, self._accounts = self._accounts, ()
        if not accounts:
            return 0
        true_tokens = _true_tokens(prompt_tokens, completion_tokens, self.reserved_tokens)
        self.charged_tokens = weighted(true_tokens, self._weight)
        for account in accounts:
            account.settle_weighted(self.reserved_tokens, true_tokens, self.reserved_budget_tokens, self.charged_tokens)
        return true_tokens

    def refund(self) -> None:
        accounts, self._accounts = self._accounts, ()
        for account in accounts:
            account.refund(self.reserved_tokens, self.reserved_budget_tokens)

    def _again(self, accounts: tuple[Account, ...]) -> Entry:
        return WeightedEntry(accounts, self.reserved_tokens, self._weight)


class ShadowEntry(Entry):
    """Of a request that a limit forbids while limits are not enforced: it holds nothing, and its tokens are counted.

    So what follows it is told what it would be told if this one had been refused, except that a budget knows the truth.
    """

    __slots__ = ("_weight", "charged_tokens")

    def __init__(self, accounts: tuple[Account, ...], estimated_tokens: int, weight: float) -> None:
        super().__init__(accounts, estimated_tokens)
        self._weight = weight
        self.charged_tokens: int | None = None

    def settle(self, prompt_tokens: int | None, completion_tokens: int | None) -> int:
        accounts, self._accounts = self._accounts, ()
        if not accounts:
            return 0
        true_tokens = _true_tokens(prompt_tokens, completion_tokens, self.reserved_tokens)
        charged_tokens = weighted(true_tokens, self._weight)
        if charged_tokens != true_tokens:
            self.charged_tokens = charged_tokens
        for account in accounts:
            account.charge(charged_tokens)
        return true_tokens

    def refund(self) -> None:
        self._accounts = ()

    def _again(self, accounts: tuple[Account, ...]) -> Entry:
        return ShadowEntry(accounts, self.reserved_tokens, self._weight)


def weighted(tokens: int, weight: float) -> int:
    """What `tokens` of a model are to a budget."""
    return tokens if weight == 1.0 else max(0, round(tokens * weight))


def _true_tokens(prompt_tokens: int | None, completion_tokens: int | None, reserved_tokens: int) -> int:
    if prompt_tokens is None and completion_tokens is None:
        return reserved_tokens
    return max(0, (prompt_tokens or 0) + (completion_tokens or 0))
