"""The page at /docs: what can be asked, generated from what is served; no script, no CDN."""

from __future__ import annotations

from html import escape
from typing import Any, Final

from backend.api import messages
from backend.api.problems import KINDS

_STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;"
    "color-scheme:light dark}code{font-family:ui-monospace,monospace}table{border-collapse:"
    "collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.2rem .8rem .2rem 0;"
    "border-bottom:1px solid #8884}h3{margin-bottom:.2rem}:target{background:#fc03}"
)


def page(openapi: dict[str, Any]) -> str:
    """HTML that lists the routes with their parameters, the socket's messages and the errors."""
    routes = "".join(
        _route(path, method, operation)
        for path, methods in openapi["paths"].items()
        for method, operation in methods.items()
    )
    frames = "".join(
        f"<tr><td><code>{model.__name__}</code><td>{escape(_first_line(model.__doc__))}"
        for model in (*messages.CLIENT_MESSAGES, *messages.SERVER_MESSAGES)
    )
    kinds = "".join(
        f'<tr id="{code}"><td><code>{code}</code><td>{kind.status}<td>{escape(kind.title)}'
        f"<td>{'try again' if kind.temporary else 'final'}"
        for code, kind in KINDS.items()
    )
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width'><title>AlphaPulse API</title>"
        f"<style>{_STYLE}</style><h1>AlphaPulse API</h1>"
        "<p>Machine-readable: <a href=/openapi.json>OpenAPI</a> · "
        "<a href=/asyncapi.json>AsyncAPI</a> · <a href=/metrics>metrics</a> · "
        "<a href=/>the page</a></p>"
        "<p>Lists answer <code>{data, meta: {as_of, watermark, coverage, revision}, next}</code>; "
        "ask again with <code>cursor=next</code> until it is null.</p>"
        f"<h2>REST</h2>{routes}<h2>Socket</h2><p><code>/ws</code>, pinned as <code>/ws/v1</code>, "
        f"sub-protocol <code>alphapulse.v1.json</code>.</p><table>{frames}</table>"
        f"<h2>Errors</h2><table>{kinds}</table></html>"
    )


def _route(path: str, method: str, operation: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(each['name'])}</code>"
        f"<td>{escape(each.get('description') or each['schema'].get('description', ''))}"
        for each in operation.get("parameters", [])
    )
    title = f"<h3><code>{method.upper()} {escape(path)}</code></h3>"
    return f"{title}<p>{escape(operation.get('description', ''))}</p><table>{rows}</table>"


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0]
