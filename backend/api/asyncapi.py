"""The AsyncAPI document, generated from the models that validate the traffic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from backend.api import messages
from backend.api.problems import KINDS
from backend.api.schemas import PredictionRow, SignalRow
from backend.api.schemas_records import RecordHeaders
from domain.topics import PREDICTIONS, SIGNALS, SIGNALS_LATEST

_REF = "#/components/schemas/{model}"
_RECORDS: Final[Mapping[str, tuple[str, type[BaseModel], str]]] = {
    "predictionsMade": (PREDICTIONS.wire_name(), PredictionRow, "exchange|symbol|timeframe"),
    "signalsChanged": (SIGNALS.wire_name(), SignalRow, "exchange|symbol|timeframe"),
    "signalsLatest": (SIGNALS_LATEST.wire_name(), SignalRow, "exchange|symbol|timeframe|horizon"),
}


def document(version: str) -> dict[str, Any]:
    """AsyncAPI 3.0 of the socket at `/ws/v1`, and of the topics on a broker."""
    models: tuple[type[BaseModel], ...] = (*messages.CLIENT_MESSAGES, *messages.SERVER_MESSAGES)
    described: tuple[type[BaseModel], ...] = (*models, PredictionRow, SignalRow, RecordHeaders)
    _, schemas = models_json_schema(
        [(model, "validation") for model in described], ref_template=_REF
    )
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
            },
            **{name: _topic(*about) for name, about in _RECORDS.items()},
        },
        "operations": {
            "receiveRequests": _operation("receive", messages.CLIENT_MESSAGES),
            "sendFrames": _operation("send", messages.SERVER_MESSAGES),
            **{
                f"send{name[0].upper()}{name[1:]}": {
                    "action": "send",
                    "channel": {"$ref": f"#/channels/{name}"},
                }
                for name in _RECORDS
            },
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


def _topic(name: str, row: type[BaseModel], key: str) -> dict[str, Any]:
    """A topic of Kafka, where `kafka.brokers` names one: docs/kafka.md."""
    return {
        "address": name,
        "description": "On the brokers of the setting kafka.brokers, with kafka.prefix in the "
        "place of alphapulse; records may come again, under the same ce_id.",
        "messages": {
            row.__name__: {
                "name": row.__name__,
                "summary": (row.__doc__ or "").strip().partition("\n")[0],
                "contentType": "application/json",
                "headers": {"$ref": _REF.format(model=RecordHeaders.__name__)},
                "payload": {"$ref": _REF.format(model=row.__name__)},
                "bindings": {"kafka": {"key": {"type": "string", "description": key}}},
            }
        },
        "bindings": {"kafka": {"topic": name}},
    }


def _operation(action: str, models: tuple[type[BaseModel], ...]) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": "#/channels/v1"},
        "messages": [{"$ref": f"#/channels/v1/messages/{model.__name__}"} for model in models],
    }
