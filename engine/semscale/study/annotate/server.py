"""The page, served on the loopback address alone, to whoever has its address.

Every address begins with a token that is drawn when the server starts, so that other users of the machine, and pages
that guess at local ports, do not get in. Requests for another host (DNS rebinding) or from another origin are refused,
whatever they ask for; what changes something must also carry a header that no page of another origin can send.
"""

from __future__ import annotations

import dataclasses
import json
import socket
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from semscale.errors import InputError, SourceError, StoreError, UsageError
from semscale.study.annotate.session import Answer, Session, StaleError, State, UnknownPictureError

ADDRESS = "127.0.0.1"
HOSTS = (ADDRESS, "localhost")
HTTP_PORT = 80  # which browsers leave out of the host
HEADER = "x-semscale"  # asks a browser to ask us first, when a page of another origin would send it
MAX_BODY = 16_384  # bytes
MAX_SECONDS = 1e9
PAGE = {"": ("page.html", "text/html"), "page.css": ("page.css", "text/css"), "page.js": ("page.js", "text/javascript"),
        "icon.svg": ("icon.svg", "image/svg+xml")}  # fmt: skip
SECURITY = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


def application(session: Session, token: str) -> Starlette:
    """The web application: the page under `/<token>/`, and what it asks of `session`."""
    asked = {"enter": _enter, "rate": _rate, "later": _later, "undo": _undo}
    routes = [
        *(Route(f"/{name}", _file(*file)) for name, file in PAGE.items()),
        *(Route(f"/{name}", _answering(session, answer), methods=["POST"]) for name, answer in asked.items()),
        Route("/image/{picture}", _picture(session, as_png=False)),
        Route("/png/{picture}", _picture(session, as_png=True)),  # for what the browser does not decode
    ]
    return Starlette(routes=[Mount(f"/{token}", routes=routes)], middleware=[Middleware(_Guard)])


def listen(port: int) -> socket.socket:
    """A socket on the loopback address; port 0 is any that is free. Raises SourceError when the port is taken."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((ADDRESS, port))
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise SourceError(
            f"port {port} of {ADDRESS}: {error.strerror}; choose another --port, or 0 for a free one"
        ) from error
    return listening


def server(app: Starlette) -> uvicorn.Server:
    """What answers with `app` on sockets that its `run` is given; silent, and it trusts no proxy."""
    config = uvicorn.Config(
        app, http="h11", ws="none", loop="asyncio", lifespan="off", log_config=None, access_log=False,
        proxy_headers=False, server_header=False, timeout_graceful_shutdown=2,
    )  # fmt: skip
    return uvicorn.Server(config)


class _Guard:
    """Refuses strangers, and tells browsers to be strict."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(SECURITY)
                headers.setdefault("cache-control", "no-store")
            await send(message)

        problem = _stranger(Headers(scope=scope), scope["method"], scope["server"][1])
        answer = self._app if problem is None else PlainTextResponse(f"{problem}\n", 403)
        await answer(scope, receive, guarded)


def _stranger(headers: Headers, method: str, port: int) -> str | None:
    """Why a request that came to `port` is refused, or None."""
    host = headers.get("host", "")
    if host not in {f"{name}:{port}" for name in HOSTS} and not (port == HTTP_PORT and host in HOSTS):
        return f"This server answers for {ADDRESS}:{port} alone."
    origin = headers.get("origin")
    if origin is not None and origin != f"http://{host}":
        return "This server answers its own page alone."
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        return "Paste the address into the browser: links from other pages are not followed."
    if method not in ("GET", "HEAD") and HEADER not in headers:
        return f"A request that changes something needs the header {HEADER}."
    return None


def _file(name: str, content_type: str) -> Callable[[Request], Awaitable[Response]]:
    data = (files("semscale.study.annotate") / name).read_bytes()

    async def answer(request: Request) -> Response:
        return Response(data, media_type=content_type)

    return answer


def _picture(session: Session, *, as_png: bool) -> Callable[[Request], Response]:
    def answer(request: Request) -> Response:
        try:
            picture = session.picture(request.path_params["picture"], as_png=as_png)
        except (UnknownPictureError, InputError):  # the reason names the file, and with it the generator
            return PlainTextResponse("This image cannot be shown.\n", 404)
        # Ids live as long as the server does.
        return Response(
            picture.data, media_type=picture.content_type, headers={"cache-control": "private, max-age=86400"}
        )

    return answer


def _answering(
    session: Session, ask: Callable[[Session, dict[str, Any]], State]
) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        try:
            given = await _body(request)
            state = await run_in_threadpool(ask, session, given)
        except StaleError as error:
            now = session.state(given["rater"])
            return JSONResponse({"error": str(error), "state": dataclasses.asdict(now)}, 409)
        except UsageError as error:
            return JSONResponse({"error": str(error)}, 400)
        except StoreError as error:
            return JSONResponse({"error": f"Not saved: {error}"}, 500)
        return JSONResponse(dataclasses.asdict(state))

    return answer


async def _body(request: Request) -> dict[str, Any]:
    """The JSON object that was sent. Raises UsageError for anything else, and for one that is too long."""
    data = b""
    async for piece in request.stream():
        data += piece
        if len(data) > MAX_BODY:
            raise UsageError(f"more than {MAX_BODY} bytes were sent")
    try:
        given = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UsageError("what was sent is no JSON") from error
    if request.headers.get("content-type", "").partition(";")[0] != "application/json" or not isinstance(given, dict):
        raise UsageError("what was sent is no JSON object, or does not say that it is")
    return given


def _enter(session: Session, given: dict[str, Any]) -> State:
    return session.state(_given(given, "rater", str))


def _rate(session: Session, given: dict[str, Any]) -> State:
    seconds = _given(given, "seconds", float | int)
    choice = _given(given, "choice", str)
    if choice not in ("left", "right"):
        raise UsageError("a choice is 'left' or 'right'; nothing else can be given")
    if not 0 <= seconds <= MAX_SECONDS:  # nor is NaN
        raise UsageError("seconds must be a number, 0 or more")
    return session.rate(
        Answer(
            _given(given, "rater", str),
            _given(given, "item", str),
            _given(given, "position", int),
            choice,
            float(seconds),
        )
    )


def _later(session: Session, given: dict[str, Any]) -> State:
    return session.later(_given(given, "rater", str), _given(given, "item", str), _given(given, "position", int))


def _undo(session: Session, given: dict[str, Any]) -> State:
    return session.undo(_given(given, "rater", str), _given(given, "position", int))


def _given(given: dict[str, Any], name: str, kind: Any) -> Any:
    value = given.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise UsageError(f"{name} is missing or of the wrong type")
    return value
