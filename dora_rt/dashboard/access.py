"""Access control: decides about each request before it reaches the dashboard.

- On loopback, only requests to a name of this machine are answered: another web page that lets its
  own name point here (DNS rebinding) is refused.
- The token must be in the address once, and is a cookie from then on: this machine has other users,
  who can reach every port of it. Only on loopback may the token be switched off.
- A request that changes something needs this page as its Origin: other pages can send a POST too.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_POLICY = (
    "default-src 'none'; img-src 'self' blob: data:; connect-src 'self'; style-src 'self'; "
    "script-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    # The address of the first request has the token in it.
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def is_loopback(host: str) -> bool:
    """Whether a name or an address means this machine only."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.rstrip(".").lower() == "localhost"


class Access:
    """An ASGI application around the dashboard's."""

    def __init__(self, app: App, *, host: str, port: int, token: str | None) -> None:
        self._app = app
        self._is_local = is_loopback(host)
        self._token = token
        # Cookies know no ports: several dashboards on one machine would overwrite each other's.
        self._cookie = f"dora_rt_{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer or refuse a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(event: MutableMapping[str, Any]) -> None:
            if event["type"] == "http.response.start":
                headers = MutableHeaders(raw=event.setdefault("headers", []))
                for name, value in _HEADERS.items():
                    headers[name] = value
            await send(event)

        answer = self._refuse(scope) or self._welcome(scope)
        await (answer or self._app)(scope, receive, send_with_headers)

    def _refuse(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        try:
            name = urlsplit(f"//{host}").hostname or ""
            origin = urlsplit(headers.get("origin", "")).netloc
        except ValueError:
            return PlainTextResponse("the header Host or Origin is no address\n", 400)
        if self._is_local and not is_loopback(name):
            return PlainTextResponse(
                "this page is served for this machine only; start the dashboard with --host to "
                "serve it under other names\n",
                403,
            )
        if self._token is not None and not self._has_token(scope, headers):
            return PlainTextResponse(
                "the token is missing or wrong: open the address that the dashboard printed when "
                "it began\n",
                403,
            )
        is_reading = scope["method"] in ("GET", "HEAD")
        if not is_reading and origin != host:
            return PlainTextResponse(
                "only the dashboard's own page may do this (its Origin is missing or another)\n",
                403,
            )
        return None

    def _welcome(self, scope: Scope) -> Response | None:
        """Move the token from the address, which histories keep, into a cookie."""
        given = self._given_token(scope)
        if self._token is None or given is None or scope["path"] != "/":
            return None
        answer = RedirectResponse("/", 303)
        answer.set_cookie(self._cookie, given, httponly=True, samesite="lax")
        return answer

    def _has_token(self, scope: Scope, headers: Headers) -> bool:
        assert self._token is not None, "asked only then"
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(self._cookie)
        except CookieError:
            cookie = None
        tokens = [self._given_token(scope), None if cookie is None else cookie.value]
        expected = self._token.encode()
        return any(
            secrets.compare_digest(token.encode(), expected)
            for token in tokens
            if token is not None
        )

    def _given_token(self, scope: Scope) -> str | None:
        query = parse_qs(scope["query_string"].decode("latin-1"))
        tokens = query.get("token")
        return tokens[0] if tokens else None
