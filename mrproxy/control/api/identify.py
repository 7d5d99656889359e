"""Shell. Who asks, where there is no database to ask: the owner of the data directory, or a key of the snapshot.

The control socket has mode 0600 and the front door sets `X-Forwarded-For` on whatever it forwards, replacing what the
client had sent (mrproxy/forwarding.py). So a request without it came from the owner of the data directory.
A group called `admin` or `auditor` is what its name says here: the snapshot knows no more.
Read next: `../permissions.py`.
"""

from pathlib import Path

from quart import Request

from mrproxy.clock import Clock
from mrproxy.config.networks import is_in, parse_address, readable_networks
from mrproxy.control.api.actor import Actor, ActorKind, anonymous, owner
from mrproxy.control.api.configured import NOTHING
from mrproxy.control.api.problem import Problem
from mrproxy.control.permissions import roles_of
from mrproxy.identity.digest import digest_key
from mrproxy.link.catalogue import catalogue_from, catalogue_of, made
from mrproxy.link.snapshot import SnapshotError

ADMIN, AUDITOR = "admin", "auditor"


class SnapshotKeys:
    """The keys of the snapshot on disk, read again when it was replaced."""

    def __init__(self, path: Path, secret: bytes, clock: Clock) -> None:
        self._path = path
        self._secret = secret
        self._clock = clock
        self._seen: tuple[int, int] | None = None
        self._catalogue = catalogue_from(NOTHING)

    async def identify(self, asked: Request) -> Actor:
        """Raises Problem for a key that is none (any more)."""
        request_id = asked.headers.get("X-Request-Id", "")
        if is_local(asked):
            return owner(request_id)
        address = asked.headers["X-Forwarded-For"]
        credential = credential_of(asked)
        if not credential:
            return anonymous(address, request_id)
        return self.actor_of(credential, address, request_id)

    def actor_of(self, credential: str, address: str, request_id: str) -> Actor:
        self._look()
        key = self._catalogue.find_key(digest_key(self._secret, credential.encode("utf-8", "surrogateescape")))
        if key is None:
            raise Problem("bad-credentials", "This API key is not valid.")
        if key.expires_utc is not None and key.expires_utc <= self._clock():
            raise Problem("bad-credentials", "This API key has expired.")
        if key.addresses is not None and not is_within(address, key.addresses):
            raise Problem("forbidden", "This API key may not be used from this address.")
        user = None if key.user is None else self._catalogue.find_user(key.user)
        group = key.group if user is None else user.group
        return Actor(
            kind=ActorKind.KEY,
            name=key.user or key.id,
            roles=roles_of(is_admin=group == ADMIN, is_auditor=group == AUDITOR),
            scopes=key.scopes,
            key_id=key.id,
            address=address,
            request_id=request_id,
        )

    def _look(self) -> None:
        """Raises Problem when there is no snapshot to be read: then no key can be judged."""
        try:
            found = self._path.stat()
            if (found.st_ino, found.st_mtime_ns) != self._seen:
                self._catalogue = made(catalogue_of(self._path.read_bytes()))
                self._seen = (found.st_ino, found.st_mtime_ns)
        except (OSError, SnapshotError) as exc:
            raise Problem("unavailable", "There is no list of keys at the moment.", retry_seconds=5) from exc


def is_local(asked: Request) -> bool:
    return "X-Forwarded-For" not in asked.headers


def credential_of(asked: Request) -> str:
    """`Authorization: Bearer` first, then `X-API-Key`, as the front door takes them."""
    scheme, _, value = asked.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and value.strip():
        return value.strip()
    return asked.headers.get("X-API-Key", "").strip()


def is_within(address: str, networks: tuple[str, ...]) -> bool:
    """As the front door sees it (`identity/callers.py`)."""
    return is_in(parse_address(address), readable_networks(networks))
