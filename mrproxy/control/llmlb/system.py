"""Shell. `/version` and `/system`: which version runs, and how much goes on. It does not replace itself by another.

`/api/version` is Ollama's, so that one is below `/v0` only.
"""

import msgspec

from mrproxy.control.api.call import Call
from mrproxy.control.api.endpoint import Answer, Endpoint
from mrproxy.control.permissions import Permission
from mrproxy.control.status import summarize


class VersionShown(msgspec.Struct, frozen=True):
    version: str


class SystemShown(msgspec.Struct, frozen=True, kw_only=True):
    """`update` and `schedule` are null: what is installed is for the package manager to change."""

    version: str
    in_flight: int
    update: None = None
    schedule: None = None
    rollback_available: bool = False


async def show_version(call: Call[None, None]) -> Answer:
    """The version that runs."""
    return Answer(value=VersionShown((await call.plane.observe()).version))


async def show_system(call: Call[None, None]) -> Answer:
    """The version that runs, and how many requests it serves at this moment."""
    status = summarize(await call.plane.observe())
    return Answer(value=SystemShown(version=status["version"], in_flight=status["in_flight"]))


TAG = "llmlb: system"
VERSION = (Endpoint("GET", "/version", Permission.PUBLIC, show_version, answer=VersionShown, tag=TAG),)
ENDPOINTS = (Endpoint("GET", "/system", Permission.PUBLIC, show_system, answer=SystemShown, tag=TAG),)
