"""The AsyncAPI document, generated from the models that validate the traffic."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from backend.api import messages
from backend.api.problems import KINDS

_REF = "#/components/schemas/{model}"


def document(version: str) -> dict[str, Any]:
    """AsyncAPI 3.0 of the socket at `/ws/v1`."""
    models: tuple[type[BaseModel], ...] = (*messages.CLIENT_MESSAGES, *messages.SERVER_MESSAGES)
    _, schemas = models_json_schema([(model, "validation") for model in models], ref_template=_REF)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "AlphaPulse streams",
            "version": version,
            "description": "Sub-protocol alphapulse.v1.json: one JSON object in each text frame. "
            "Error codes: " + ", ".join(KINDS) + ". "
            "Close codes 44xx: stop; 45xx: reconnect with backoff.",
        },
        "channels": {
            "v1": {
                "address": "/ws/v1",
                "messages": {
                    model.__name__: {"$ref": f"#/components/messages/{model.__name__}"}
                    for model in models
                },
            }
        },
        "operations": {
            "receiveRequests": _operation("receive", messages.CLIENT_MESSAGES),
            "sendFrames": _operation("send", messages.SERVER_MESSAGES),
        },
        "components": {
            "messages": {
                model.__name__: {
                    "name": model.__name__,
                    "summary": (model.__doc__ or "").strip().partition("\n")[0],
                    "contentType": "application/json",
                    "payload": {"$ref": _REF.format(model=model.__name__)},
                }
                for model in models
            },
            "schemas": schemas["$defs"],
        },
    }


def _operation(action: str, models: tuple[type[BaseModel], ...]) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": "#/channels/v1"},
        "messages": [{"$ref": f"#/channels/v1/messages/{model.__name__}"} for model in models],
    }
