"""The page at /docs: what can be asked, generated from what is served; no script, no CDN."""

from __future__ import annotations

import json
import re
from html import escape
from typing import Any, Final

from backend.api import messages
from backend.api.openapi import SCHEME
from backend.api.problems import KINDS, MEDIA_TYPE

Fields = dict[str, Any]
_CODE: Final = re.compile("`([^`]+)`")
_STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;"
    "color-scheme:light dark}code{font-family:ui-monospace,monospace}table{border-collapse:"
    "collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.2rem .8rem .2rem 0;"
    "border-bottom:1px solid #8884}pre{overflow:auto}h3{margin-bottom:.2rem}"
    ":target{background:#fc03}"
)


def page(openapi: dict[str, Any]) -> str:
    """HTML that lists the routes with their parameters, the socket's messages and the errors."""
    routes = "".join(
        _route(path, method, operation, openapi["components"]["schemas"])
        for path, methods in openapi["paths"].items()
        for method, operation in methods.items()
    )
    frames = "".join(
        f"<tr><td><code>{model.__name__}</code><td>{_marked(_first_line(model.__doc__))}"
        for model in (*messages.CLIENT_MESSAGES, *messages.SERVER_MESSAGES)
    )
    kinds = "".join(
        f'<tr id="{code}"><td><code>{code}</code><td>{kind.status}<td>{escape(kind.title)}'
        f"<td>{'try again' if kind.temporary else 'final'}"
        for code, kind in KINDS.items()
    )
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width'>"
        "<link rel=icon href=/static/icon.svg type=image/svg+xml><title>AlphaPulse API</title>"
        f"<style>{_STYLE}</style><h1>AlphaPulse API</h1>"
        "<p>Machine-readable: <a href=/openapi.json>OpenAPI</a> · "
        "<a href=/asyncapi.json>AsyncAPI</a> · <a href=/metrics>metrics</a> · "
        "<a href=/>the page</a></p>"
        "<p>Lists answer <code>{data, meta: {as_of, watermark, coverage, revision}, next}</code>; "
        "ask again with <code>cursor=next</code> until it is null, or follow the header "
        "<code>Link: &lt;…&gt;; rel=next</code>, all that CSV and Arrow have. There codes of <code>"
        "degraded</code> are joined by commas and what else is nested is JSON text; features "
        "are columns <code>values.NAME</code>.</p>"
        "<p>Other machines ask with a key that has the scope: "
        "<code>Authorization: Bearer ap_…</code></p>"
        f"<h2>REST</h2>{routes}<h2>Socket</h2><p><code>/ws</code>, pinned as <code>/ws/v1</code>, "
        "sub-protocol <code>alphapulse.v1.json</code>. Members that are not described here are "
        f"ignored, on both sides.</p><table>{frames}</table>"
        f"<h2>Errors</h2><table>{kinds}</table></html>"
    )


def _route(path: str, method: str, operation: Fields, schemas: Fields) -> str:
    title = f"<h3><code>{method.upper()} {escape(path)}</code></h3>"
    asked = {each["name"]: {**each["schema"], **each} for each in operation.get("parameters", [])}
    body = _fields(operation.get("requestBody", {}), schemas)
    answers = [each for code, each in operation["responses"].items() if code.startswith("2")]
    answered = _rows_of(answers[0], schemas)
    return (
        f"{title}<p>{_marked(operation.get('description', ''))}{_scope(operation)}</p>"
        f"{_table('', asked)}"
        f"{_table('Body (JSON)', body)}{_table('Each of <code>data</code>', answered)}"
        f"{_problems(operation['responses'])}{_example(answers[0])}"
    )


def _problems(responses: Fields) -> str:
    """The codes of its problems, each a link to what they mean."""
    told = (one.get("content", {}).get(MEDIA_TYPE, {}) for one in responses.values())
    codes = [code for one in told for code in one.get("examples", {})]
    links = ", ".join(f"<a href=#{code}><code>{code}</code></a>" for code in codes)
    return f"<p>Problems: {links}</p>" if links else ""


def _example(answer: Fields) -> str:
    shown = next(iter(answer["content"].values())).get("example")
    if shown is None:
        return ""
    text = shown if isinstance(shown, str) else json.dumps(shown, indent=1, ensure_ascii=False)
    return f"<details><summary>Example</summary><pre>{escape(text)}</pre></details>"


def _scope(operation: Fields) -> str:
    """Of a key that may ask so, where one is needed."""
    named = (scope for each in operation.get("security", []) for scope in each[SCHEME])
    return _marked("".join(f" Scope: `{scope}`." for scope in named))


def _fields(content: Fields, schemas: Fields) -> Fields:
    """The members of the object that a request or an answer carries; empty: not described."""
    schema = content.get("content", {}).get("application/json", {}).get("schema", {})
    schema = schema.get("anyOf", [schema])[0]  # objects, before columns
    found: Fields = _resolved(schema, schemas).get("properties", {})
    return found


def _rows_of(answer: Fields, schemas: Fields) -> Fields:
    data = _fields(answer, schemas).get("data", {})
    found: Fields = _resolved(data.get("items", {}), schemas).get("properties", {})
    return found


def _resolved(schema: Fields, schemas: Fields) -> Fields:
    found: Fields = schemas.get(schema.get("$ref", "").rpartition("/")[2], schema)
    return found


def _table(title: str, fields: Fields) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code><td>{_marked(each.get('description', ''))}"
        for name, each in fields.items()
    )
    return f"{f'<p>{title}</p>' if title else ''}<table>{rows}</table>" if rows else ""


def _marked(text: str) -> str:
    """Escaped, with what stands between backticks as code."""
    return _CODE.sub(r"<code>\1</code>", escape(text))


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0]
