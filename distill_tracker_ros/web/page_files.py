"""The files of the page, read once: nothing else on the disk can be asked for."""

from __future__ import annotations

from importlib.resources import files
from pathlib import PurePath
from typing import NamedTuple

from aiohttp import web

TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
_OWN = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'"
)
HEADERS = {
    "Content-Security-Policy": f"{_OWN}; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class PageFile(NamedTuple):
    """One file of the page."""

    type: str  # MIME
    content: bytes


def page_files() -> dict[str, PageFile]:
    """URL path -> file: `/` is index.html, and all others have the names that they have in `page/`."""
    found = {}
    for entry in files(__package__).joinpath("page").iterdir():
        if kind := TYPES.get(PurePath(entry.name).suffix):
            path = "/" if entry.name == "index.html" else f"/{entry.name}"
            found[path] = PageFile(kind, entry.read_bytes())
    return found


def answer(status: int, content: str | bytes, type: str = "text/plain") -> web.Response:
    """A whole answer, after which the connection ends: none is kept idle."""
    body = content if isinstance(content, bytes) else f"{content}\n".encode()
    response = web.Response(status=status, body=body, content_type=type, charset="utf-8", headers=HEADERS)
    response.force_close()
    return response
