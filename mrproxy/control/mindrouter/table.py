"""Pure. All endpoints in MindRouter's words: `/api/admin/…` and `/api/cluster/…`.

docs/api-mindrouter.md says what is the same and what differs. Bodies need not be called JSON, and what is wrong is said
as FastAPI does (`wording.py`). Keys, tokens and sessions are taken everywhere.
"""

from mrproxy.clock import Clock
from mrproxy.control.api.endpoint import Api
from mrproxy.control.mindrouter import (
    api_keys,
    backends,
    cluster,
    conversations,
    groups,
    history,
    nodes,
    queue,
    quota_requests,
    users,
)
from mrproxy.control.mindrouter.cluster import Cluster
from mrproxy.control.mindrouter.ollama import OllamaModels
from mrproxy.control.mindrouter.pulls import PullJobs
from mrproxy.control.mindrouter.wording import word_detail

ADMIN, CLUSTER = "/api/admin", "/api/cluster"
MODULES = (backends, nodes, users, api_keys, groups, quota_requests, queue, history, cluster, conversations)


def mindrouter_apis(clock: Clock) -> tuple[Api, ...]:
    """Of one control process: they keep jobs and what was found last."""
    plain = tuple(endpoint for module in MODULES for endpoint in module.ENDPOINTS)
    pulls = OllamaModels(PullJobs(clock)).endpoints()
    return (
        Api(ADMIN, (*plain, *pulls), word=word_detail, is_strict=False),
        Api(CLUSTER, Cluster().endpoints(), word=word_detail, is_strict=False),
    )
