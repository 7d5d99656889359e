"""Pure. All of llmlb's endpoints that are there: one table below two prefixes, `/v0` and the older `/api`.

Below `/api` Ollama's paths go to backends and never come here (`mrproxy/dialects/routes.py`), and `/api/admin` is
MindRouter's: what would collide is in the first prefix only. `/…/auth` stands in `../signin/llmlb_auth.py`.
docs/api-llmlb.md says what is the same as there, what differs and why.
"""

from mrproxy.control.api.endpoint import Api, Endpoint
from mrproxy.control.llmlb import endpoints, invitations, keys, users
from mrproxy.control.llmlb.manners import word

PREFIXES = ("/v0", "/api")
MODULES = (users, keys, invitations, endpoints)


def llmlb_apis() -> tuple[Api, ...]:
    """To be mounted behind APIs whose prefixes are longer."""
    table: tuple[Endpoint, ...] = tuple(endpoint for module in MODULES for endpoint in module.ENDPOINTS)
    return tuple(Api(prefix, table, word=word, is_strict=False) for prefix in PREFIXES)
