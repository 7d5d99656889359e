"""Shell. Who a key belongs to, and whether it may come here: digest → caller, from the snapshot, in memory.

An unknown key costs one digest (1 µs) and one dict lookup: no body is read, nothing is written, nobody is asked.
A key that was good is remembered by itself, so that the next request with it costs the lookup only; a reload forgets
all of them, which is how a revoked key stops working.
"""

from dataclasses import dataclass

from mrproxy.clock import Clock
from mrproxy.config.networks import Network, is_in, parse_address, readable_networks
from mrproxy.errors import Code, Refused
from mrproxy.identity.digest import digest_key
from mrproxy.link.catalogue import Catalogue, catalogue_from
from mrproxy.link.scopes import INFERENCE_SCOPES
from mrproxy.link.snapshot import KeySpec, Snapshot

_MISSING = "an API key is needed: 'Authorization: Bearer <key>' or 'X-API-Key: <key>'"


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated key and its user. `flow_id` is whose turn it is; `models` None allows all.

    `networks` None: it may come from anywhere. `is_plain`: of all these questions none has to be asked.
    `captures_bodies`: its group has what it asks and is answered kept.
    """

    key_id: str
    user: str
    group: str
    weight: int
    models: frozenset[str] | None
    flow_id: str
    expires_utc: float | None
    digest: bytes
    networks: tuple[Network, ...] | None
    may_infer: bool
    is_plain: bool
    captures_bodies: bool = False


class Identity:
    """All callers of a snapshot."""

    def __init__(self, secret: bytes, clock: Clock) -> None:
        self._secret = secret
        self._clock = clock
        self._catalogue = catalogue_from(Snapshot(generation=0, created_utc=0.0))
        # credential -> caller, of keys that were good before
        self.known: dict[bytes | None, Caller] = {}

    def load(self, catalogue: Catalogue) -> None:
        """Take over a snapshot, however large, at once."""
        self._catalogue, self.known = catalogue, {}

    def identify(self, credential: bytes | None, address: str = "") -> Caller:
        """Who asks for inference, from `address`; keys that are bound to networks need to have one.

        Raises Refused: MISSING_KEY, INVALID_KEY, EXPIRED_KEY; SCOPE_FORBIDDEN, ADDRESS_FORBIDDEN.
        """
        if credential is None:
            raise Refused(Code.MISSING_KEY, _MISSING)
        caller = self.known.get(credential)
        if caller is None:
            digest = digest_key(self._secret, credential)
            key = self._catalogue.find_key(digest)
            if key is None:
                raise Refused(Code.INVALID_KEY, "invalid API key")
            caller = self.known[credential] = _caller(key, digest, self._catalogue)
        if not caller.is_plain:
            self._check(caller, address)
        return caller

    def _check(self, caller: Caller, address: str) -> None:
        if caller.expires_utc is not None and caller.expires_utc <= self._clock():
            raise Refused(Code.EXPIRED_KEY, "the API key has expired")
        if not caller.may_infer:
            raise Refused(Code.SCOPE_FORBIDDEN, "this API key lacks the scope 'inference'")
        if caller.networks is not None and not is_in(parse_address(address), caller.networks):
            raise Refused(Code.ADDRESS_FORBIDDEN, f"this API key may not be used from {address}")


def _caller(key: KeySpec, digest: bytes, catalogue: Catalogue) -> Caller:
    user = catalogue.find_user(key.user) if key.user is not None else None
    name = key.group if user is None else user.group
    group = catalogue.groups.get(name)
    weight = None if user is None else user.weight
    if weight is None:
        weight = 1 if group is None else group.weight
    may_infer = not INFERENCE_SCOPES.isdisjoint(key.scopes)
    return Caller(
        key_id=key.id,
        user=key.user or "",
        group=name,
        weight=weight,
        models=frozenset(key.models) if key.models is not None else None,
        flow_id=f"user:{key.user}" if key.user is not None else f"key:{key.id}",
        expires_utc=key.expires_utc,
        digest=digest,
        networks=None if key.addresses is None else readable_networks(key.addresses),
        may_infer=may_infer,
        is_plain=may_infer and key.models is None and key.expires_utc is None and key.addresses is None,
        captures_bodies=group is not None and group.captures_bodies,
    )
