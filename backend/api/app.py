"""The application: routes, the socket, errors as problems, and the page."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import FileResponse, HTMLResponse
from fastapi.staticfiles import StaticFiles
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from backend.api import (
    asyncapi,
    health,
    problems,
    reference,
    routes_comparison,
    routes_instruments,
    routes_jobs,
    routes_labels,
    routes_market,
    routes_models,
    routes_notifications,
    routes_orders,
    routes_predictions,
    routes_scores,
    routes_streams,
    routes_tickets,
    routes_udf,
    routes_watched,
    rows,
)
from backend.api.bodies import WholeBodies
from backend.api.guard import Guard
from backend.api.openapi import TAGS, DescribedApp
from backend.api.repeated import refuse_repeated
from backend.api.socket import Socket
from backend.api.state import ApiState
from backend.api.watch import keep_watch, keep_watch_of_tables

# Of pages of other sites: what they may ask with, and see of an answer beside its body.
METHODS: Final = ("GET", "HEAD", "POST", "DELETE")
ASKED_WITH: Final = ("Authorization", "Content-Type", "If-None-Match", "X-Request-Id")
TOLD: Final = (
    "ETag", "Link", "RateLimit", "RateLimit-Policy", "Retry-After", "WWW-Authenticate",
    "X-Request-Id", "AlphaPulse-As-Of", "AlphaPulse-Watermark", "AlphaPulse-Revision",
    "AlphaPulse-Coverage",
)  # fmt: skip
PAGE: Final = Path(__file__).parent.parent / "dashboard"
# Nothing but this server is asked for anything; inline styles are the chart library's.
_POLICY: Final = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
    " connect-src 'self'; frame-ancestors 'none'"
)


class HeadAsGet:
    """Answers HEAD as GET; the server under it leaves the body out."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = {**scope, "method": "GET"} if scope.get("method") == "HEAD" else scope
        await self._app(asked, receive, send)


def create_app(state: ApiState) -> FastAPI:
    """The served API over `state`, which wiring fills while the system starts."""
    app = DescribedApp(
        title="AlphaPulse",
        summary="Candles, features, predictions with their record, and signals",
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        openapi_tags=[{"name": name, "description": text} for name, text in TAGS.items()],
        version=state.status.version,
        docs_url=None,
        redoc_url=None,
        lifespan=_beating,
        responses={"422": {"description": "in the place of FastAPI's own"}},
        dependencies=[Depends(refuse_repeated)],
    )
    app.state.alphapulse = state
    app.state.registry = health.gauges(state)
    app.add_middleware(HeadAsGet)
    app.add_middleware(WholeBodies)
    app.add_middleware(Guard, state=state)
    if origins := state.access.rules.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=METHODS,
            allow_headers=ASKED_WITH,
            expose_headers=TOLD,
        )
    problems.install(app)
    for router in (
        health.router,
        routes_instruments.router,
        routes_market.router,
        routes_predictions.router,
        routes_labels.router,
        routes_comparison.router,
        routes_models.router,
        routes_notifications.router,
        routes_scores.router,
        routes_orders.router,
        routes_jobs.router,
        routes_streams.router,
        routes_tickets.router,
        routes_udf.router,
        routes_watched.router,
    ):
        app.include_router(router)
    _serve_socket(app, state)
    _serve_documents(app, state)
    _serve_page(app)
    return app


@contextlib.asynccontextmanager
async def _beating(app: FastAPI) -> AsyncIterator[None]:
    state: ApiState = app.state.alphapulse
    async with asyncio.TaskGroup() as tasks:
        works = (state.hub.beat(), keep_watch(state), keep_watch_of_tables(state))
        endless = [tasks.create_task(work) for work in works]
        yield
        for task in endless:
            task.cancel()
    state.access.trail.give_up()


def _serve_socket(app: FastAPI, state: ApiState) -> None:
    socket = Socket(state)

    async def not_upgraded(request: Request) -> Response:
        path = request.url.path
        detail = f"{path} is a WebSocket (ws://…{path}); /asyncapi.json says what it speaks"
        raise problems.ProblemError("upgrade_required", detail)

    for path in ("/ws", "/ws/v1"):
        app.router.routes.append(WebSocketRoute(path, socket))
        app.add_api_route(path, not_upgraded, include_in_schema=False)


def _serve_documents(app: FastAPI, state: ApiState) -> None:
    @app.get("/asyncapi.json", include_in_schema=False)
    async def asyncapi_document() -> Response:
        document = asyncapi.document(state.status.version)
        return Response(rows.dumps(document), media_type="application/json")

    @app.get("/docs", include_in_schema=False)
    async def documentation() -> HTMLResponse:
        # In a thread: the first time the document is made from all models.
        return HTMLResponse(await asyncio.to_thread(lambda: reference.page(app.openapi())))


def _serve_page(app: FastAPI) -> None:
    app.mount("/static", StaticFiles(directory=PAGE), name="static")

    @app.get("/", include_in_schema=False)
    async def page(_request: Request) -> FileResponse:
        headers = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache"}
        return FileResponse(PAGE / "index.html", headers=headers)
