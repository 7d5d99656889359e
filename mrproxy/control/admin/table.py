"""Pure. All endpoints of our own API: each module has its table, and this is the list of the modules.

Below `/admin/api/v1`. What is added here is served, documented (`/openapi.json`, docs/api.md) and asked as every role
(tests/control/test_roles.py), which fails until somebody has said there who may.
"""

from mrproxy.control.admin import (
    audit_log,
    backends,
    groups,
    invitations,
    keys,
    logs,
    me,
    models,
    quota_requests,
    records,
    sessions,
    system,
    usage,
    users,
)
from mrproxy.control.api.endpoint import Api, Endpoint

PREFIX = "/admin/api/v1"
MODULES = (
    system,
    me,
    users,
    groups,
    keys,
    sessions,
    invitations,
    quota_requests,
    backends,
    models,
    audit_log,
    records,
    usage,
    logs,
)

ENDPOINTS = tuple(endpoint for module in MODULES for endpoint in module.ENDPOINTS)


def admin_api(more: tuple[Endpoint, ...] = ()) -> Api:
    """With endpoints that are bound to something, such as those of signing in."""
    return Api(PREFIX, (*more, *ENDPOINTS))
