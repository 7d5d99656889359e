"""Shell. Quart as this gateway uses it: routes depend on no host and build no URL, answers are not cut off."""

from collections.abc import Awaitable, Callable
from math import inf
from typing import Any

import trio
from quart import Request
from quart.routing import QuartMap, QuartRule
from quart.wrappers.base import BaseRequestWebsocket
from quart_trio import QuartTrio
from quart_trio.asgi import TrioASGIHTTPConnection
from werkzeug.routing import MapAdapter

GOODBYE_SECONDS = 2.0

Send = Callable[[Any], Awaitable[None]]


class UncutHTTPConnection(TrioASGIHTTPConnection):
    """Lets the last message of an answer be sent to its end.

    Hypercorn reports the end of a stream to the application before it arms the connection's idle task; Quart-Trio takes
    that report for a client that left and cancels the send (hypercorn 0.18, quart-trio 0.12). Without this, an idle
    connection is closed neither by the keep-alive timeout nor by a drain: one pooled connection would hold it up whole.
    """

    async def handle_request(self, nursery: trio.Nursery, request: Request, send: Send) -> None:  # type: ignore[override]
        async def send_to_the_end(message: Any) -> None:
            is_last = message["type"] == "http.response.body" and not message.get("more_body", False)
            with trio.move_on_after(GOODBYE_SECONDS if is_last else inf, shield=is_last):
                await send(message)

        await super().handle_request(nursery, request, send_to_the_end)


class HostlessMap(QuartMap):
    """No route depends on the host. Werkzeug would raise for one that cannot be (`a..b`), before any handler runs."""

    def bind_to_request(
        self, request: BaseRequestWebsocket, subdomain: str | None, server_name: str | None
    ) -> MapAdapter:
        query = request.query_string.decode("latin-1")
        return self.bind("gateway", request.root_path, "", request.scheme, request.method, request.path, query)


class UnbuiltRule(QuartRule):
    """Werkzeug compiles two functions per route that build its URL, a third of an application's cost. We build none."""

    def _compile_builder(self, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
        return _refuse


def _refuse(*_: object, **__: object) -> tuple[str, str]:
    raise NotImplementedError("URLs are not built from routes")


class Application(QuartTrio):
    """Without static files, redirects in HTML, and the above."""

    asgi_http_class = UncutHTTPConnection
    url_map_class = HostlessMap
    url_rule_class = UnbuiltRule  # type: ignore[assignment]

    def __init__(self, name: str) -> None:
        super().__init__(name, static_folder=None)
        self.url_map.merge_slashes = False  # the answer would be a redirect in HTML
