"""Pure. What a control plane offers beside status and metrics: APIs, and what else is mounted. See `assembly.py`.

`make_plane` gets what only the server has: how to look at the workers, and how to tell them something.
"""

from collections.abc import Callable
from dataclasses import dataclass

from quart_trio import QuartTrio

from mrproxy.control.api.endpoint import Api
from mrproxy.control.api.plane import Observe, Plane, Tell

Mount = Callable[[QuartTrio], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """`mounts` add routes of their own, such as pages."""

    make_plane: Callable[[Observe, Tell], Plane]
    apis: tuple[Api, ...]
    mounts: tuple[Mount, ...] = ()
