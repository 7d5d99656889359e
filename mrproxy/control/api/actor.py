"""Pure. Who asks: a user in a browser, a key, the owner of the data directory, nobody in particular, or we ourselves.

Read next: `../permissions.py`, for what one may; `identify.py`, for how one is recognised.
"""

import enum

import msgspec

from mrproxy.control.permissions import Permission, Role, permissions_of


class ActorKind(enum.StrEnum):
    """As the audit log has it."""

    USER = "user"
    KEY = "key"
    LOCAL = "local"
    ANONYMOUS = "anonymous"
    SYSTEM = "system"


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """`name` is the user's, or the key's id where it has no user. `scopes` None: nothing is taken away.

    `user_id` counts rows of the database, so it is None for whoever is only in the configuration. `session` is what
    the actor signed in with, to be ended by a sign-out; `key_id` is set for a key.
    """

    kind: ActorKind
    name: str = ""
    user_id: int | None = None
    roles: frozenset[Role] = frozenset()
    scopes: tuple[str, ...] | None = None
    key_id: str | None = None
    session: str | None = None
    is_password_due: bool = False
    address: str = ""
    request_id: str = ""

    @property
    def permissions(self) -> frozenset[Permission]:
        return permissions_of(self.roles, self.scopes, is_password_due=self.is_password_due)

    @property
    def is_known(self) -> bool:
        """Whether it has said who it is; another answer than "who are you?" is then due."""
        return self.kind is not ActorKind.ANONYMOUS


def anonymous(address: str, request_id: str) -> Actor:
    return Actor(kind=ActorKind.ANONYMOUS, address=address, request_id=request_id)


def owner(request_id: str) -> Actor:
    """Of the data directory: may all, and is no user."""
    return Actor(
        kind=ActorKind.LOCAL, name="local", roles=frozenset({Role.ADMIN}), address="local", request_id=request_id
    )
