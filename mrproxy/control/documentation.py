"""Shell. `/openapi.json`, `/docs` (Swagger UI) and `/redoc`: the API's documentation, without the internet.

The pages' files are ours (`mrproxy/web`) and unchanged copies of two packages (`web/vendor`, with their licences). A
file's URL has a digest of it, so a browser keeps it for good and never has an old one. The policy of the pages allows
what comes from here and no inline script.
Read next: `api/openapi.py`, for the document.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path

from quart import Response, abort, request
from quart_trio import QuartTrio

from mrproxy.control.api.endpoint import Api
from mrproxy.control.api.openapi import document
from mrproxy.control.api.serving import tags_of

WEB = Path(__file__).parents[1] / "web"
ASSETS = {
    "swagger-ui.css": "vendor/swagger-ui/swagger-ui.css",
    "swagger-ui-bundle.js": "vendor/swagger-ui/swagger-ui-bundle.js",
    "swagger.js": "swagger.js",
    "redoc.standalone.js": "vendor/redoc/redoc.standalone.js",
    "redoc.js": "redoc.js",
    "redoc.css": "redoc.css",
}
TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
# Pictures stand in Swagger UI's style sheet.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Redoc makes elements with styles of their own (styled-components), and shows nothing right without.
REDOC_POLICY = POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")
PAGES = {"/docs": ("swagger.html", POLICY), "/redoc": ("redoc.html", REDOC_POLICY)}
FOR_GOOD = "public, max-age=31536000, immutable"
SHORTLY = "no-cache"  # kept, and asked for again with its tag


@dataclass(frozen=True, slots=True)
class Documentation:
    """`paths` maps the name of a file to its path below /assets, `assets` to what is in it: one copy for all."""

    openapi: bytes
    paths: dict[str, str]
    assets: dict[str, bytes]

    def mount(self, app: QuartTrio) -> None:
        app.add_url_rule("/openapi.json", endpoint="openapi", view_func=self.show_document, methods=["GET"])
        app.add_url_rule("/assets/<digest>/<name>", endpoint="assets", view_func=self.show_asset, methods=["GET"])
        for path, (file, policy) in PAGES.items():
            view = partial(show_page, self.page(file), policy)
            app.add_url_rule(path, endpoint=path, view_func=view, methods=["GET"])

    async def show_document(self) -> Response:
        tag = f'"{digest_of(self.openapi)}"'
        headers = {"ETag": tag, "Cache-Control": SHORTLY}
        if tag in tags_of(request.headers.get("If-None-Match", "")):
            return Response("", status=304, headers=headers)
        return Response(self.openapi, content_type="application/json", headers=headers)

    async def show_asset(self, digest: str, name: str) -> Response:
        if self.paths.get(name) != f"/assets/{digest}/{name}":
            abort(404)
        content_type = TYPES[(WEB / ASSETS[name]).suffix]
        return Response(self.assets[name], content_type=content_type, headers={"Cache-Control": FOR_GOOD})

    def page(self, file: str) -> str:
        page = (WEB / file).read_text(encoding="utf-8")
        for name, path in self.paths.items():
            page = page.replace("{" + name + "}", path)
        return page


async def show_page(page: str, policy: str) -> Response:
    headers = {"Content-Security-Policy": policy, "Cache-Control": SHORTLY}
    return Response(page, content_type="text/html; charset=utf-8", headers=headers)


def open_documentation(apis: Sequence[Api], release: str) -> Documentation:
    """Reads all files once, to name them by what is in them."""
    assets = {name: (WEB / file).read_bytes() for name, file in ASSETS.items()}
    paths = {name: f"/assets/{digest_of(body)}/{name}" for name, body in assets.items()}
    return Documentation(document(apis, release), paths, assets)


def digest_of(data: bytes) -> str:
    return blake2b(data, digest_size=8).hexdigest()
