"""Shell. `/login/oidc/<name>`: there, and `/login/oidc/<name>/callback`: back again.

What went wrong is in the log with its reason; the browser is sent to the sign-in page with one of a few words, since
whoever sent it here may have written all the rest. Read next: `flow.py`.
"""

import re
import secrets
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlencode

from quart import Request, Response, request
from quart_trio import QuartTrio

from mrproxy.control.api.problem import Problem
from mrproxy.control.signin.cookies import Kind
from mrproxy.control.signin.entry import welcome
from mrproxy.control.signin.oidc.claims import ClaimsRefused, person_of
from mrproxy.control.signin.oidc.flow import (
    FLOW_SECONDS,
    Flow,
    FlowRefused,
    UsedFlows,
    authorization_url,
    code_of,
    flow_text,
    nonce_of,
    read_flow,
    verifier_of,
)
from mrproxy.control.signin.oidc.provider import Provider, ProviderFailed
from mrproxy.control.signin.oidc.provisioning import NotAdmitted, admit
from mrproxy.control.signin.pages import Pages, redirect
from mrproxy.control.signin.redirects import own_path
from mrproxy.control.signin.sessions import Opened
from mrproxy.control.signin.visitor import Visitor

_HOST = re.compile(r"[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?")


class OidcLog(Protocol):
    def warning(self, event: str, **fields: str | float | bool | None) -> None: ...


@dataclass(frozen=True, slots=True)
class OidcRoutes:
    """`public_url` empty: wherever the browser says it is. A provider sends nobody to an address it does not know."""

    pages: Pages
    providers: dict[str, Provider]
    public_url: str
    log: OidcLog
    used: UsedFlows = field(default_factory=UsedFlows)

    def mount(self, app: QuartTrio) -> None:
        app.add_url_rule("/login/oidc/<name>", endpoint="oidc", view_func=self.go, methods=["GET"])
        app.add_url_rule("/login/oidc/<name>/callback", endpoint="oidc back", view_func=self.come_back, methods=["GET"])

    async def go(self, name: str) -> Response:
        """To the provider, with a new flow."""
        provider = self.providers.get(name)
        uri = None if provider is None else redirect_uri(name, self.public_url, request)
        if provider is None or uri is None:
            return failed("provider")
        visitor, keys = self.pages.visitor(), self.pages.session_api.sign_in.sessions.keys
        back = own_path(request.args.get("next"))
        flow = Flow(secrets.token_urlsafe(32), name, back, self._now_utc())
        try:
            metadata = await provider.describe()
        except ProviderFailed as exc:
            self.log.warning("provider fails", provider=name, reason=str(exc))
            return failed("away")
        url = authorization_url(keys, flow, provider.config, metadata, uri)
        return redirect(url, [visitor.jar.put(Kind.FLOW, flow_text(flow), FLOW_SECONDS)])

    async def come_back(self, name: str) -> Response:
        """From the provider, perhaps. Whatever happens, the cookie of the flow is over."""
        visitor = self.pages.visitor()
        response = await self._come_back(name, visitor)
        response.headers.add(*visitor.jar.drop(Kind.FLOW))
        return response

    async def _come_back(self, name: str, visitor: Visitor) -> Response:
        provider = self.providers.get(name)
        uri = None if provider is None else redirect_uri(name, self.public_url, request)
        if provider is None or uri is None:
            return failed("provider")
        try:
            flow = read_flow(visitor.cookie(Kind.FLOW), name, self._now_utc())
            opened = await self._enter(provider, flow, uri, visitor)
        except (FlowRefused, ClaimsRefused, ProviderFailed, NotAdmitted, Problem) as exc:
            self.log.warning("sign-in by a provider refused", provider=name, reason=str(exc), address=visitor.address)
            return failed(word_of(exc))
        return redirect(flow.back, welcome(opened, visitor))

    async def _enter(self, provider: Provider, flow: Flow, uri: str, visitor: Visitor) -> Opened:
        sign_in = self.pages.session_api.sign_in
        keys = sign_in.sessions.keys
        metadata = await provider.describe()
        code = code_of(keys, flow, metadata, request.args)
        self.used.use(flow)
        claims = await provider.claims_for(code, verifier_of(keys, flow), nonce_of(keys, flow), uri)
        person = person_of(claims, provider.config)
        user = await admit(sign_in.reach, person, provider.config, visitor.actor, self._now_utc())
        return await sign_in.known(user, visitor, provider.config.name)

    def _now_utc(self) -> float:
        return self.pages.session_api.sign_in.sessions.clock()


def redirect_uri(name: str, public_url: str, asked: Request) -> str | None:
    """Where the provider sends the browser; None if the request does not say where it is."""
    path = f"/login/oidc/{name}/callback"
    if public_url:
        return public_url.rstrip("/") + path
    host = asked.headers.get("Host", "")
    scheme = "https" if asked.headers.get("X-Forwarded-Proto") == "https" else "http"
    return f"{scheme}://{host}{path}" if _HOST.fullmatch(host) else None


def word_of(exc: Exception) -> str:
    match exc:
        case ProviderFailed():
            return "away"
        case NotAdmitted():
            return "refused"
        case Problem():
            return "database"
        case _:
            return "provider"


def failed(word: str) -> Response:
    return redirect(f"/login?{urlencode({'error': word})}")
