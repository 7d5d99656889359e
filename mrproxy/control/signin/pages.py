"""Shell. `/login`, `/login/password` and `/logout`: forms for people, without a script.

A form belongs to a browser before anybody has signed in: a random cookie, and a MAC of it in the form (`csrf.py`). So
nobody can be signed in as somebody else by a foreign page. Read next: `page.py`; `oidc/routes.py`, for the links.
"""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from quart import Response, abort, request
from quart_trio import QuartTrio
from werkzeug.datastructures import MultiDict

from mrproxy.config import Oidc
from mrproxy.control.api.problem import Problem
from mrproxy.control.api.serving import MAX_STRANGERS_BODY_BYTES
from mrproxy.control.signin import csrf
from mrproxy.control.signin.cookies import Header, Kind
from mrproxy.control.signin.entry import farewell, welcome
from mrproxy.control.signin.page import ERRORS, POLICY, STYLE, STYLE_PATH, Link, password_page, sign_in_page
from mrproxy.control.signin.redirects import own_path
from mrproxy.control.signin.session_api import SessionApi
from mrproxy.control.signin.sessions import actor_of
from mrproxy.control.signin.visitor import Visitor
from mrproxy.storage.people.values import Session, User

FORM_SECONDS = 3600.0
STALE = "The form was too old, or came from another page. Please try again."
HTML = "text/html; charset=utf-8"
PASSWORD_PATH = "/login/password"


async def read_form() -> MultiDict[str, str]:
    """413 for what no browser sends from a form of ours. The front door says the length of each body."""
    if (request.content_length or 0) > MAX_STRANGERS_BODY_BYTES:
        abort(413)
    return await request.form


@dataclass(frozen=True, slots=True)
class Pages:
    """`mount` adds the routes."""

    session_api: SessionApi
    providers: tuple[Oidc, ...]

    def mount(self, app: QuartTrio) -> None:
        rules: list[tuple[str, str, Any]] = [
            ("GET", "/login", self.show),
            ("POST", "/login", self.sign_in),
            ("GET", PASSWORD_PATH, self.show_password),
            ("POST", PASSWORD_PATH, self.change_password),
            ("POST", "/logout", self.sign_out),
            ("GET", STYLE_PATH, self.style),
        ]
        for method, path, view in rules:
            app.add_url_rule(path, endpoint=f"{method} {path}".replace(".", "·"), view_func=view, methods=[method])

    def visitor(self) -> Visitor:
        return self.session_api.identification.visitor(request)

    async def style(self) -> Response:
        return Response(STYLE, content_type="text/css; charset=utf-8", headers={"Cache-Control": "max-age=3600"})

    async def show(self) -> Response:
        visitor, back = self.visitor(), own_path(request.args.get("next"))
        try:
            found = await self.session_api.identification.of_cookie(visitor)
        except Problem:
            found = None
        message = ERRORS.get(request.args.get("error", ""), "")
        if found is not None and not message:
            return redirect(PASSWORD_PATH if found[1].must_change_password else back)
        return self._sign_in_page(visitor, back, message=message)

    async def sign_in(self) -> Response:
        form, visitor = await read_form(), self.visitor()
        name, back = form.get("name", ""), own_path(form.get("next"))
        if not self._is_meant(visitor, form.get("csrf_token", "")):
            return self._sign_in_page(visitor, back, name=name, message=STALE, status=403)
        try:
            sign_in = self.session_api.sign_in
            opened = await sign_in.with_password(name, form.get("password", ""), visitor, "cookie")
        except Problem as problem:
            return self._sign_in_page(visitor, back, name=name, problem=problem)
        where = PASSWORD_PATH if opened.user.must_change_password else back
        return redirect(where, welcome(opened, visitor))

    async def show_password(self) -> Response:
        visitor = self.visitor()
        found = await self._signed_in(visitor)
        if found is None:
            return redirect("/login")
        return self._password_page(found, visitor, own_path(request.args.get("next")))

    async def change_password(self) -> Response:
        form, visitor = await read_form(), self.visitor()
        found, back = await self._signed_in(visitor), own_path(form.get("next"))
        if found is None:
            return redirect("/login")
        if not self._is_of(visitor, found[0], form.get("csrf_token", "")):
            return self._password_page(found, visitor, back, message=STALE, status=403)
        new = form.get("new_password", "")
        if new != form.get("again", ""):
            return self._password_page(found, visitor, back, message="The two new passwords differ.", status=422)
        try:
            actor, current = actor_of(*found, visitor), form.get("current_password", "")
            headers = await self.session_api.changed_password(actor, current, new, visitor)
        except Problem as problem:
            return self._password_page(found, visitor, back, problem=problem)
        return redirect(back, headers)

    async def sign_out(self) -> Response:
        """With the token of the session: no other page can sign anybody out."""
        form, visitor = await read_form(), self.visitor()
        found = await self._signed_in(visitor)
        if found is None:
            return redirect("/login", farewell(visitor))
        if not self._is_of(visitor, found[0], form.get("csrf_token", "")):
            return self._password_page(found, visitor, "/", message=STALE, status=403)
        reach, actor = self.session_api.sign_in.reach, actor_of(*found, visitor)
        try:
            await reach.transact(self.session_api.write_close, actor, found[0].id)
        except Problem:
            return redirect("/login?error=database")
        return redirect("/login", farewell(visitor))

    async def _signed_in(self, visitor: Visitor) -> tuple[Session, User] | None:
        try:
            return await self.session_api.identification.of_cookie(visitor)
        except Problem:  # the sign-in page will say that the database is away
            return None

    def _is_meant(self, visitor: Visitor, token: str) -> bool:
        nonce = visitor.cookie(Kind.FORM)
        return (
            nonce is not None
            and csrf.is_from_here(request.headers)
            and csrf.is_form_token_of(token, visitor.jar.keys, nonce)
        )

    def _is_of(self, visitor: Visitor, session: Session, token: str) -> bool:
        return csrf.is_from_here(request.headers) and csrf.is_token_of(token, visitor.jar.keys, session.id)

    def _sign_in_page(
        self,
        visitor: Visitor,
        back: str,
        *,
        name: str = "",
        message: str = "",
        status: int = 200,
        problem: Problem | None = None,
    ) -> Response:
        nonce = secrets.token_urlsafe(24)
        links = [Link(each.label, f"/login/oidc/{each.name}?next={quoted(back)}") for each in self.providers]
        token = csrf.form_token_of(visitor.jar.keys, nonce)
        text = sign_in_page(token, back, links, name=name[:300], message=message or said(problem))
        response = page(text, status, problem)
        response.headers.add(*visitor.jar.put(Kind.FORM, nonce, FORM_SECONDS))
        return response

    def _password_page(
        self,
        found: tuple[Session, User],
        visitor: Visitor,
        back: str,
        *,
        message: str = "",
        status: int = 200,
        problem: Problem | None = None,
    ) -> Response:
        session, user = found
        token = csrf.token_of(visitor.jar.keys, session.id)
        text = password_page(token, back, user.name, is_due=user.must_change_password, message=message or said(problem))
        return page(text, status, problem)


def said(problem: Problem | None) -> str:
    return "" if problem is None else problem.detail


def page(text: str, status: int, problem: Problem | None) -> Response:
    response = Response(text, status=status if problem is None else problem.status, content_type=HTML)
    response.headers["Content-Security-Policy"] = POLICY
    response.headers["Referrer-Policy"] = "same-origin"  # with none at all, browsers would call our forms' origin null
    for name, value in () if problem is None else problem.headers:
        response.headers.add(name, value)
    return response


def redirect(path: str, headers: Iterable[Header] = ()) -> Response:
    """See other (RFC 9110 §15.4.4): what comes next is a GET, whatever this was. `path` is ours."""
    response = Response("", status=303, content_type=HTML, headers={"Location": path})
    for name, value in headers:
        response.headers.add(name, value)
    return response


def quoted(path: str) -> str:
    return quote(path, safe="/")
