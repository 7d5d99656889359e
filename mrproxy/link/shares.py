"""Pure. What workers tell each other of their accounts, by way of the control process; and its part in that.

Theory of operation:
1. A `Share` is what one worker has taken of one account since it started: sums, which only grow but for refunds, and
   what it holds at this moment. Never differences: whatever gets lost on the way, the next message makes good.
2. A worker's `epoch` is when it started. Another epoch is another life, whose sums begin at zero.
3. The control process keeps the last share of each account and worker (`Mailbox`) and passes on what has changed.
   What it sends is forgotten only when it has arrived. It may forget everything: then it asks for everything.

Read next: `mrproxy/ledger/sharing.py`, the workers' end; `mrproxy/control/sharing.py`, which carries the messages.
"""

from typing import NamedTuple

import msgspec


class Share(NamedTuple):
    """Requests, tokens as rates count them, tokens as budgets are charged; and what is in flight and reserved now."""

    requests: int = 0
    tokens: int = 0
    charged_tokens: int = 0
    in_flight: int = 0
    reserved_tokens: int = 0


NOTHING = Share()


class Report(msgspec.Struct, frozen=True):
    """A worker's answer: the accounts that changed since its report number `acknowledged`, or all of them."""

    epoch: int
    number: int
    shares: dict[str, Share] = {}


class Bundle(msgspec.Struct, frozen=True):
    """News of one worker for another. `is_gone`: it holds nothing any more."""

    epoch: int
    shares: dict[str, Share] = {}
    is_gone: bool = False


class Parcel(msgspec.Struct, frozen=True):
    """What a worker is sent: news of the others, and which of its own reports has arrived last (0: none)."""

    acknowledged: int = 0
    others: dict[str, Bundle] = {}


class _Known:
    """The last that is known of one worker, and what it has not been told of the others."""

    __slots__ = ("epoch", "is_gone", "number", "shares", "untold")

    def __init__(self) -> None:
        self.epoch = self.number = 0
        self.is_gone = False
        self.shares: dict[str, Share] = {}
        self.untold: dict[str, set[str]] = {}


class Mailbox:
    """All workers, by name."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}

    def parcel_for(self, worker: str) -> Parcel:
        known = self._known.get(worker)
        if known is None:
            return Parcel()
        others = {name: self._bundle(name, accounts) for name, accounts in known.untold.items()}
        return Parcel(known.number, others)

    def delivered(self, worker: str, parcel: Parcel, report: Report) -> None:
        """The parcel arrived, and this came back."""
        known = self._known.get(worker)
        is_new = known is None or known.epoch != report.epoch
        if known is None or is_new:
            known = self._known[worker] = _Known()
            known.epoch = report.epoch
            known.untold = {name: set(other.shares) for name, other in self._known.items() if name != worker}
        else:
            for name, bundle in parcel.others.items():
                self._told(known, name, bundle)
        was_gone, known.is_gone, known.number = known.is_gone, False, report.number
        known.shares.update(report.shares)
        changed = set(known.shares) if is_new or was_gone else set(report.shares)
        if changed or is_new:
            self._spread(worker, changed)

    def gone(self, worker: str) -> None:
        """It has not answered for long: what it held is free."""
        known = self._known.get(worker)
        if known is not None and not known.is_gone:
            known.is_gone = True
            self._spread(worker, set())

    def _bundle(self, name: str, accounts: set[str]) -> Bundle:
        known = self._known[name]
        return Bundle(known.epoch, {account: known.shares[account] for account in accounts}, known.is_gone)

    def _told(self, known: _Known, name: str, bundle: Bundle) -> None:
        """What has changed again since it was sent has to be sent again."""
        other, untold = self._known[name], known.untold.get(name)
        if untold is not None and other.epoch == bundle.epoch and other.is_gone == bundle.is_gone:
            untold -= {account for account, share in bundle.shares.items() if other.shares[account] == share}
            if not untold:
                del known.untold[name]

    def _spread(self, worker: str, changed: set[str]) -> None:
        for name, other in self._known.items():
            if name != worker:
                other.untold.setdefault(worker, set()).update(changed)
                other.untold[worker] &= self._known[worker].shares.keys()
