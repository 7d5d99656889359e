"""Pure. How long somebody waits before the next password is looked at: per account and per address.

1. A try counts when it begins and is taken back when it succeeds, so that a hundred at once are a hundred.
2. An account has a few tries free, then each failure doubles the wait, up to a cap. It is the same for names that
   nobody has: waiting says nothing about who exists. NIST SP 800-63B §5.2.2 wants at most 100 failures in a row;
   the cap leaves less than that in a day.
3. Strangers can therefore keep an account waiting, but only for strangers: who once signed in on a device is counted
   under that device (`account` is then its id; OWASP, "Slow down online guessing with device cookies"). And the
   owner of the data directory needs no password at all. So nobody is locked out for ever, the last administrator
   neither.
4. An address has more tries, since whole offices share one, and gets one back in a while; that of IPv6 is its /64.

Memory is bounded: of many keys those go first that nobody has used for longest. What must survive a restart is kept
with the user, see `lock_after`.
"""

from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from math import inf, ldexp

FREE_FAILURES = 5
FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 900.0
FORGOTTEN_AFTER_SECONDS = 24 * 3600.0

FREE_ADDRESS_FAILURES = 30
ADDRESS_REFUND_SECONDS = 20.0

# So long a device is known on which somebody has signed in.
DEVICE_SECONDS = 180 * 24 * 3600.0

MAX_KEYS = 20_000


@dataclass(slots=True)
class Failures:
    count: float
    last_at: float


def wait_after(failures: float, free: int = FREE_FAILURES) -> float:
    """Seconds to wait after so many failures; nothing while there are free ones left."""
    if failures < free:
        return 0.0
    return min(LONGEST_WAIT_SECONDS, ldexp(FIRST_WAIT_SECONDS, int(min(failures - free, 40))))


def lock_after(failed_logins: int, locked_until_utc: float | None, now_utc: float) -> tuple[int, float | None]:
    """What a user's row says after one more failure: how many, and until when it is locked.

    Long after the last lock the count starts anew.
    """
    was = 0 if locked_until_utc is not None and now_utc - locked_until_utc > FORGOTTEN_AFTER_SECONDS else failed_logins
    wait_seconds = wait_after(was + 1)
    return was + 1, now_utc + wait_seconds if wait_seconds else None


def lock_left(locked_until_utc: float | None, now_utc: float) -> float:
    """Seconds of the lock that are left. A clock that was set back does not make a lock longer than it can be."""
    return 0.0 if locked_until_utc is None else min(max(0.0, locked_until_utc - now_utc), LONGEST_WAIT_SECONDS)


def network_of(address: str) -> str:
    """An address as it is counted. What is none is counted as it stands (the control socket has no address)."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        return str(parsed.ipv4_mapped or IPv6Address(int(parsed) >> 64 << 64))
    return str(parsed)


class Throttle:
    """Counts by account and by address; times are trio's."""

    def __init__(self, max_keys: int = MAX_KEYS) -> None:
        self._max_keys = max_keys
        self._accounts: OrderedDict[str, Failures] = OrderedDict()
        self._addresses: OrderedDict[str, Failures] = OrderedDict()

    def begin(self, account: str, address: str, now: float) -> float:
        """0 and the try counts as a failure; or the seconds to wait, and nothing is counted."""
        network = network_of(address)
        wait_seconds = max(self._account_wait(account, now), self._address_wait(network, now))
        if wait_seconds:
            return wait_seconds
        self._count(self._accounts, account, self._account_failures(account, now) + 1, now)
        self._count(self._addresses, network, self._address_failures(network, now) + 1, now)
        return 0.0

    def succeeded(self, account: str, address: str) -> None:
        """Forget the account's failures and give back this one try of the address.

        Not more: who has one account of his own could otherwise buy tries at others with it.
        """
        self._accounts.pop(account, None)
        self.undo(None, address)

    def undo(self, account: str | None, address: str) -> None:
        """The try came to nothing (the database is away): it was no failure."""
        for counts, key in ((self._accounts, account), (self._addresses, network_of(address))):
            found = counts.get(key) if key is not None else None
            if found is not None:
                found.count = max(0.0, found.count - 1)

    def __len__(self) -> int:
        return len(self._accounts) + len(self._addresses)

    def _account_failures(self, account: str, now: float) -> float:
        found = self._accounts.get(account)
        return 0.0 if found is None or now - found.last_at > FORGOTTEN_AFTER_SECONDS else found.count

    def _address_failures(self, network: str, now: float) -> float:
        found = self._addresses.get(network)
        return 0.0 if found is None else max(0.0, found.count - (now - found.last_at) / ADDRESS_REFUND_SECONDS)

    def _account_wait(self, account: str, now: float) -> float:
        failures = self._account_failures(account, now)
        last_at = self._accounts[account].last_at if failures else -inf
        return max(0.0, last_at + wait_after(failures) - now)

    def _address_wait(self, network: str, now: float) -> float:
        excess = self._address_failures(network, now) + 1 - FREE_ADDRESS_FAILURES
        return max(0.0, excess * ADDRESS_REFUND_SECONDS)

    def _count(self, counts: OrderedDict[str, Failures], key: str, count: float, now: float) -> None:
        counts[key] = Failures(count, now)
        counts.move_to_end(key)
        if len(counts) > self._max_keys:
            counts.popitem(last=False)
