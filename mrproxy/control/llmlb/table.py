"""Pure. All of llmlb's endpoints that are there: one table below two prefixes, `/v0` and the older `/api`.

Below `/api` Ollama's paths go to backends and never come here (`mrproxy/dialects/routes.py`), and `/api/admin` is
MindRouter's: what would collide is in the first prefix only. `/…/auth` stands in `../signin/llmlb_auth.py`.
docs/api-llmlb.md says what is the same as there, what differs and why.
"""

from mrproxy.control.api.endpoint import Api, Endpoint
from mrproxy.control.llmlb import (
    audit_logs,
    dashboard,
    endpoints,
    history,
    invitations,
    keys,
    logs,
    system,
    tokens,
    users,
)
from mrproxy.control.llmlb.cloud import Cloud
from mrproxy.control.llmlb.manners import word
from mrproxy.control.permissions import Permission

NEW, OLD, OLDEST = "/v0", "/api", "/metrics/cloud"
MODULES = (users, keys, invitations, endpoints, dashboard, history, tokens, logs, audit_logs, system)


def llmlb_apis() -> tuple[Api, ...]:
    """Of one control process, which counts. To be mounted behind APIs whose prefixes are longer."""
    cloud = Cloud()
    table: tuple[Endpoint, ...] = tuple(endpoint for module in MODULES for endpoint in module.ENDPOINTS)
    table = (*table, cloud.endpoint("/metrics/cloud", Permission.USAGE_READ))
    return (
        Api(NEW, (*table, *system.VERSION), word=word, is_strict=False),
        Api(OLD, table, word=word, is_strict=False),
        # The oldest version asks nobody who it is, as `/metrics` does here.
        Api(OLDEST, (cloud.endpoint("", Permission.PUBLIC),), word=word, is_strict=False),
    )
