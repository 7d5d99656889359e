"""Shell. The offer of a real control plane: signing in, our own API, those of other systems, their documentation.

A table of endpoints that is added to `apis_of` is served, documented, and asked as every role by the tests.
Read next: `mrproxy/controlling.py`, which starts what runs beside it.
"""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from mrproxy.clock import Clock
from mrproxy.config import Settings
from mrproxy.control.admin.table import admin_api
from mrproxy.control.api.configured import Configured
from mrproxy.control.api.endpoint import Api
from mrproxy.control.api.plane import Observe, Plane, Publish, Store, Tell
from mrproxy.control.documentation import open_documentation
from mrproxy.control.llmlb.table import llmlb_apis
from mrproxy.control.mindrouter.table import mindrouter_apis
from mrproxy.control.offer import Offer
from mrproxy.control.signin.assembly import SignInParts, assemble, providers_in
from mrproxy.control.signin.oidc.routes import OidcLog
from mrproxy.control.signin.passwords import Passwords
from mrproxy.identity.digest import SECRET_BYTES


async def nothing_to_publish() -> None:
    """Without a database nothing is managed."""


def make_offer(
    settings: Settings,
    data_dir: Path,
    secret: bytes,
    store: Store | None,
    publish: Publish,
    clock: Clock,
    log: OidcLog,
    environment: Mapping[str, str],
    passwords: Passwords,
) -> Offer:
    """`store` None: there is no database. `environment` has the providers of sign-in, which no snapshot has."""
    providers = providers_in(environment)
    parts = assemble(settings, data_dir, secret, store, clock, log, providers=providers, passwords=passwords)
    apis = apis_of(parts, clock)

    def make_plane(observe: Observe, tell: Tell) -> Plane:
        return Plane(
            data_dir=data_dir,
            secret=secret,
            clock=clock,
            store=store,
            identify=parts.identification.identify,
            publish=publish,
            observe=observe,
            configured=Configured(data_dir),
            passwords=passwords,
            tell=tell,
        )

    documentation = open_documentation(apis, version("mrproxy"))
    return Offer(make_plane=make_plane, apis=apis, mounts=(parts.mount_pages, documentation.mount))


def tables(clock: Clock, log: OidcLog) -> tuple[Api, ...]:
    """All APIs of a gateway without a database, for whoever only reads the tables."""
    settings, nowhere, passwords = Settings(), Path("/nonexistent"), Passwords()
    secret = bytes(SECRET_BYTES)
    return make_offer(settings, nowhere, secret, None, nothing_to_publish, clock, log, {}, passwords).apis


def apis_of(parts: SignInParts, clock: Clock) -> tuple[Api, ...]:
    """All tables. Those of other systems stand beside ours."""
    return (admin_api(parts.session_api.endpoints()), *parts.apis(), *mindrouter_apis(clock), *llmlb_apis())
