"""Shell. The control plane's HTTP routes: liveness, readiness, status, metrics, the APIs, and JSON for every mistake.

The front door forwards here whatever is not inference. A handler here observes a `Scene` and shows one view of it; it
decides nothing. APIs bring their tables along (`api/endpoint.py`), pages mount themselves. What is wrong below an
API's prefix is worded by that API, elsewhere as OpenAI's SDKs read it; tracebacks go to the log.
Read next: `status.py` and `metrics.py` (the views), `server.py` (who serves this), `offer.py` (what is mounted).
"""

import json
from collections import Counter
from collections.abc import Sequence

import trio
from quart import Response, request, websocket
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException, ServiceUnavailable

from mrproxy.control.api.endpoint import Api
from mrproxy.control.api.idempotency import carry_out
from mrproxy.control.api.plane import Observe, Tell
from mrproxy.control.api.problem import problem_of_status
from mrproxy.control.api.serving import mount, request_id_of, respond_problem
from mrproxy.control.application import Application
from mrproxy.control.metrics import render_metrics
from mrproxy.control.offer import Offer
from mrproxy.control.responses import AnswerQuestion, add_state
from mrproxy.control.status import summarize
from mrproxy.errors import Code

LIVE_INTERVAL_SECONDS = 1.0
# Anybody may watch, and each who does costs a summary a second: a millisecond.
MAX_LIVE, MAX_LIVE_PER_ADDRESS = 64, 16
LIVE_RETRY_SECONDS = 10
# As the front door has it for what it forwards (nginx's client_max_body_size); no body of an API is larger.
MAX_BODY_BYTES = 1 << 20
# What still runs in the application's nursery when it ends, such as a model that is pulled, goes on another time.
BACKGROUND_SECONDS = 0.1

SECURITY_HEADERS = {
    # For what is no page: a browser needs nothing of it, not even to show it in a frame. A page brings its own.
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def build_app(
    observe: Observe,
    drain: trio.Event,
    offer: Offer | None = None,
    tell: Tell | None = None,
    state: AnswerQuestion | None = None,
) -> QuartTrio:
    """The ASGI application; `observe` and `tell` never raise and take less than a second. `state` answers workers."""
    app = Application("mrproxy.control")
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.config["BACKGROUND_TASK_SHUTDOWN_TIMEOUT"] = BACKGROUND_SECONDS
    _add_views(app, observe, drain)
    _add_live_status(app, observe, drain)
    add_state(app, state, tell)
    _add_errors(app, () if offer is None else offer.apis)
    if offer is not None and tell is not None:
        plane = offer.make_plane(observe, tell)
        for api in offer.apis:
            mount(app, api, plane, carry_out)
        for add in offer.mounts:
            add(app)

    @app.after_request
    async def secure(response: Response) -> Response:
        for name, value in SECURITY_HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    return app


def _add_views(app: QuartTrio, observe: Observe, drain: trio.Event) -> None:
    @app.get("/healthz")
    async def healthz() -> Response:
        """Liveness: this process answers. Asks nobody, so that a hung worker does not get the gateway killed."""
        return _json({"status": "ok"})

    @app.get("/readyz")
    async def readyz() -> Response:
        """Readiness: whether new requests should be sent here, and if not, why."""
        status = summarize(await observe())
        reasons = [*status["reasons"], *(["draining"] if drain.is_set() else [])]
        body = {
            "ready": not reasons,
            "reasons": reasons,
            "warnings": status["warnings"],
            "journal": status["journal"],
            "storage": status["storage"],
        }
        return _json(body, status=503 if reasons else 200)

    @app.get("/status")
    async def status() -> Response:
        return _json(summarize(await observe()))

    @app.get("/metrics")
    async def metrics() -> Response:
        body, content_type = render_metrics(await observe(), request.headers.get("Accept", ""))
        return Response(body, content_type=content_type)


def _add_live_status(app: QuartTrio, observe: Observe, drain: trio.Event) -> None:
    watching: Counter[str] = Counter()

    @app.websocket("/status/live")
    async def live() -> None:
        """`/status`, one text message a second, until the client leaves or the gateway drains (close code 1001)."""
        address = websocket.headers.get("X-Forwarded-For", "")
        if watching.total() >= MAX_LIVE or watching[address] >= MAX_LIVE_PER_ADDRESS:
            raise ServiceUnavailable("Too many are watching.", retry_after=LIVE_RETRY_SECONDS)
        watching[address] += 1
        try:
            while not drain.is_set():
                await websocket.send(_encode(summarize(await observe())))
                with trio.move_on_after(LIVE_INTERVAL_SECONDS):
                    await drain.wait()
            await websocket.close(1001, "draining")
        finally:
            watching[address] -= 1
            if not watching[address]:
                del watching[address]


def _add_errors(app: QuartTrio, apis: Sequence[Api]) -> None:
    @app.errorhandler(HTTPException)
    async def refuse(error: HTTPException) -> Response:
        """404, 405, 413, … and 500, which Quart has logged with its traceback before it comes here."""
        status = error.code or 500
        # Werkzeug's sentence for a 404 speaks of typing URLs by hand; SDKs print this one.
        message = "There is nothing at this path." if status == 404 else error.description or error.name
        api = next((each for each in apis if request and is_below(request.path, each.prefix)), None)
        if api is not None:
            response = respond_problem(api, problem_of_status(status, message), request_id_of(request))
        else:
            response = _error(status, message)
        if allowed := getattr(error, "valid_methods", None):
            response.headers["Allow"] = ", ".join(sorted(allowed))
        if isinstance(error, ServiceUnavailable) and error.retry_after is not None:
            response.headers["Retry-After"] = str(error.retry_after)
        return response


def is_below(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(prefix + "/")


def _error(status: int, message: str) -> Response:
    """The body every OpenAI SDK can read; the request id is the front door's."""
    error: dict[str, object] = {
        "message": message,
        "type": "server_error" if status >= 500 else "invalid_request_error",
        "code": _code(status).value,
    }
    # A rejected WebSocket handshake comes here as well, and has no `request`.
    headers = (request or websocket).headers
    if request_id := headers.get("X-Request-Id"):
        error["request_id"] = request_id
    return _json({"error": error}, status=status)


def _code(status: int) -> Code:
    match status:
        case 404:
            return Code.UNKNOWN_ROUTE
        case 405:
            return Code.METHOD_NOT_ALLOWED
        case 408:
            return Code.BODY_TIMEOUT
        case 413:
            return Code.BODY_TOO_LARGE
        case 503:
            return Code.CONTROL_UNAVAILABLE
        case _:
            return Code.INTERNAL if status >= 500 else Code.BAD_REQUEST


def _json(body: object, *, status: int = 200) -> Response:
    return Response(_encode(body), status=status, content_type="application/json")


def _encode(body: object) -> str:
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False)
