"""The web pages: files that a browser runs, which do everything through the HTTP API.

One document for every address, and modules that draw it. There is no build step, no inline script, and no file from
elsewhere. Nothing here knows anything of a campaign: whoever may open a page without signing in sees a door.
"""

from __future__ import annotations

import hashlib
import mimetypes
from importlib import resources

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cache-Control": "no-cache",
}
ADDRESSES = (
    "/",
    "/new",
    "/campaigns/{a}",
    "/experiments/{a}",
    "/instruments",
    "/instruments/{a}",
    "/instruments/{a}/reconcile",
    "/samples",
    "/alarms",
    "/handover",
    "/handover/{a}",
    "/memory",
    "/audit",
    "/people",
    "/account",
    "/notifications",
    "/sign-in",
)
"""Where there is a page; `ROUTES` in main.js has the same."""


def mount(app: FastAPI) -> None:
    """Serve the pages."""
    files = _files()
    document = files.pop("index.html")

    async def page(request: Request) -> Response:
        return _answer(request, document, "text/html; charset=utf-8")

    async def file(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in files:
            raise HTTPException(404, "there is no such file")
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        return _answer(request, files[name], kind)

    for address in ADDRESSES:
        app.add_route(address, page, methods=["GET", "HEAD"], include_in_schema=False)
    app.add_route("/static/{name}", file, methods=["GET", "HEAD"], include_in_schema=False)


def _files() -> dict[str, bytes]:
    """What is served, by its name."""
    found = {
        item.name: item.read_bytes()
        for item in resources.files("athanor.console.pages").iterdir()
        if item.name.endswith((".html", ".js", ".css", ".svg"))
    }
    found["charts.css"] = (resources.files("athanor.console.report") / "charts.css").read_bytes()
    return found


def _answer(request: Request, body: bytes, kind: str) -> Response:
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {**HEADERS, "ETag": tag}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(body, media_type=kind, headers=headers)
