"""Which scope each route needs; what is not listed here is served to the operator alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from starlette.routing import compile_path

from domain.keys import KeyScope

CONNECT: Final = "CONNECT"  # a socket's handshake


@dataclass(frozen=True, slots=True)
class Need:
    """What a caller must have; `scope` None: nothing at all."""

    scope: KeyScope | None
    whole: bool = False  # and see every instrument: the answer tells of all at once


PUBLIC: Final = Need(None)
READ: Final = Need(KeyScope.READ)
READ_ALL: Final = Need(KeyScope.READ, whole=True)
STREAM: Final = Need(KeyScope.STREAM)
OPERATE: Final = Need(KeyScope.OPERATE, whole=True)

NEEDS: Final[Mapping[str, Mapping[str, Need]]] = {
    "/": {"GET": PUBLIC},
    "/static/{path:path}": {"GET": PUBLIC},
    "/docs": {"GET": PUBLIC},
    "/openapi.json": {"GET": PUBLIC},
    "/asyncapi.json": {"GET": PUBLIC},
    "/healthz": {"GET": PUBLIC},
    "/readyz": {"GET": READ},
    "/metrics": {"GET": READ_ALL},
    "/ws": {"GET": PUBLIC, CONNECT: STREAM},
    "/ws/v1": {"GET": PUBLIC, CONNECT: STREAM},
    "/v1/backfills": {"POST": OPERATE},
    "/v1/candles": {"GET": READ},
    "/v1/dashboard": {"GET": READ},
    "/v1/exchanges": {"GET": READ},
    "/v1/features": {"GET": READ},
    "/v1/gaps": {"GET": READ},
    "/v1/instruments": {"GET": READ, "POST": OPERATE, "DELETE": OPERATE},
    "/v1/jobs": {"GET": READ},
    "/v1/jobs/{id}": {"GET": READ, "DELETE": OPERATE},
    "/v1/labels/{kind}": {"GET": READ},
    "/v1/ledger": {"GET": READ},
    "/v1/measurements": {"GET": READ},
    "/v1/models": {"GET": READ},
    "/v1/models/compare": {"GET": READ_ALL},
    "/v1/models/pool": {"GET": READ},
    "/v1/models/rollback": {"POST": OPERATE},
    "/v1/notifications": {"GET": READ_ALL},
    "/v1/predictions": {"GET": READ},
    "/v1/predictions/latest": {"GET": READ},
    "/v1/predictions/query": {"POST": READ},
    "/v1/predictions/{id:path}/explanation": {"GET": READ},
    "/v1/predictions/{id:path}": {"GET": READ},
    "/v1/retrains": {"POST": OPERATE},
    "/v1/scores": {"GET": READ},
    "/v1/scores/calibration": {"GET": READ},
    "/v1/scores/days": {"GET": READ},
    "/v1/sentiment": {"GET": READ},
    "/v1/signals": {"GET": READ},
    "/v1/status": {"GET": READ},
    "/v1/symbols": {"GET": READ},
    "/v1/timeframes": {"GET": READ},
    "/v1/streams": {"GET": READ},
    "/v1/streams/{stream:path}/events": {"GET": READ},
    "/v1/streams/{stream:path}/head": {"GET": READ},
    "/v1/ws-tickets": {"POST": STREAM},
    "/udf/config": {"GET": READ},
    "/udf/history": {"GET": READ},
    "/udf/marks": {"GET": READ},
    "/udf/search": {"GET": READ},
    "/udf/symbols": {"GET": READ},
    "/udf/time": {"GET": READ},
    "/udf/timescale_marks": {"GET": READ},
}
_PATTERNS: Final = [(compile_path(path)[0], needs) for path, needs in NEEDS.items() if "{" in path]


def needs_at(path: str) -> Mapping[str, Need]:
    """What a path needs, by method; empty where nothing is listed.

    >>> needs_at("/v1/labels/regime@1")["GET"] is READ
    True
    """
    if (found := NEEDS.get(path)) is not None:
        return found
    return next((needs for pattern, needs in _PATTERNS if pattern.match(path)), {})


def methods_at(path: str) -> list[str]:
    """The methods that a path answers, as they are listed."""
    return [method for method in needs_at(path) if method != CONNECT]
