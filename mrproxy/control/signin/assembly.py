"""Shell. The parts of signing in, put together for one control plane.

`identification.identify` goes into the `Plane`; `session_api.endpoints()` into the table of our own API; `apis()` are
mounted beside it; `mount_pages` adds what browsers see. Read next: `mrproxy/controlling.py`, which does these things.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec
from quart_trio import QuartTrio

from mrproxy.clock import Clock
from mrproxy.config import Oidc, variable_of
from mrproxy.control.api.endpoint import Api
from mrproxy.control.api.identify import SnapshotKeys
from mrproxy.control.api.plane import Store
from mrproxy.control.signin.derived import derive_keys
from mrproxy.control.signin.identify import Identification
from mrproxy.control.signin.llmlb_auth import LlmlbAuth
from mrproxy.control.signin.oidc.provider import Provider
from mrproxy.control.signin.oidc.routes import OidcLog, OidcRoutes
from mrproxy.control.signin.pages import Pages
from mrproxy.control.signin.passwords import Passwords
from mrproxy.control.signin.reach import Reach
from mrproxy.control.signin.session_api import SessionApi
from mrproxy.control.signin.sessions import Sessions
from mrproxy.control.signin.sign_in import SignIn


class SignInSettings(Protocol):
    """What signing in reads of the settings."""

    @property
    def public_url(self) -> str: ...
    @property
    def cookie_secure(self) -> str: ...
    @property
    def session_seconds(self) -> float: ...
    @property
    def session_idle_seconds(self) -> float: ...


@dataclass(frozen=True, slots=True)
class SignInParts:
    identification: Identification
    session_api: SessionApi
    pages: Pages
    oidc: OidcRoutes

    def apis(self) -> tuple[Api, ...]:
        """Of other systems."""
        return LlmlbAuth(self.session_api).apis()

    def mount_pages(self, app: QuartTrio) -> None:
        self.pages.mount(app)
        self.oidc.mount(app)


def assemble(
    settings: SignInSettings,
    data_dir: Path,
    secret: bytes,
    store: Store | None,
    clock: Clock,
    log: OidcLog,
    *,
    providers: tuple[Oidc, ...] = (),
    passwords: Passwords | None = None,
) -> SignInParts:
    """`passwords`: those of the `Plane`, so that all hashing waits in one queue."""
    sessions = Sessions(Reach(store), derive_keys(secret), clock, settings)
    sign_in = SignIn(sessions, secret, passwords or Passwords())
    snapshot_keys = SnapshotKeys(data_dir / "snapshot.json", secret, clock)
    identification = Identification(sessions, secret, snapshot_keys, settings.cookie_secure)
    session_api = SessionApi(sign_in, identification, providers)
    pages = Pages(session_api, providers)
    asked = {each.name: Provider(each, clock) for each in providers}
    return SignInParts(identification, session_api, pages, OidcRoutes(pages, asked, settings.public_url, log))


def providers_in(environment: Mapping[str, str]) -> tuple[Oidc, ...]:
    """As the supervisor passes them to the control process; not in the snapshot, which the workers read."""
    return msgspec.json.decode(environment.get(variable_of("oidc")) or "[]", type=tuple[Oidc, ...])
