"""Commands to the simulated exchange under `/_control`: faults, the clock, what was sent."""

from __future__ import annotations

from typing import Any

import orjson
from aiohttp import web

from collectors.simulated.book import Book
from collectors.simulated.dialect import market_id
from collectors.simulated.faults import Fault, FaultKind
from collectors.simulated.rest import answer
from collectors.simulated.sent import Sent
from collectors.simulated.subscribers import Subscribers


class Control:
    """Handlers of the control paths."""

    def __init__(self, book: Book, sent: Sent, subscribers: Subscribers) -> None:
        self._book = book
        self._sent = sent
        self._subscribers = subscribers

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/_control/sent", self.sent),
            web.get("/_control/time", self.time),
            web.post("/_control/clock", self.clock),
            web.post("/_control/faults", self.faults),
            web.delete("/_control/faults", self.mend),
            web.delete("/_control/holes", self.fill),
        ]

    async def sent(self, request: web.Request) -> web.Response:
        """Closed candles and how many frames told of each; query `symbol`, `timeframe`."""
        candles = self._sent.rows(request.query.get("symbol"), request.query.get("timeframe"))
        faults = [
            {"kind": one.kind, "instrument": one.instrument, "acted": one.acted}
            for one in self._book.faults.commands
        ]
        counts = {name: self._sent.counts[name] for name in ("forming", "closed", "trades")}
        return answer(
            {
                "candles": candles,
                "frames": counts,
                "faults": faults,
                "connections": len(self._subscribers),
            }
        )

    async def time(self, _request: web.Request) -> web.Response:
        clock = self._book.clock
        return answer(
            {
                "now": clock.now_ms(),
                "speed": clock.speed,
                "held": clock.held or clock.ended,
                "ended": clock.ended,
            }
        )

    async def clock(self, request: web.Request) -> web.Response:
        """Body `{"held": true | false}`."""
        body = await _body(request)
        match body.get("held"):
            case True:
                self._book.clock.hold()
            case False:
                self._book.clock.release()
            case _:
                return _refused("held must be true or false")
        return await self.time(request)

    async def faults(self, request: web.Request) -> web.Response:
        """Body `{"kind", "instrument", "after", "count", "ms"}`; only the kind is required."""
        body = await _body(request)
        try:
            fault = _fault(body)
        except (TypeError, ValueError) as error:
            return _refused(str(error))
        if fault.instrument is not None and fault.instrument not in self._book.columns:
            return _refused(f"unknown instrument {body['instrument']!r}")
        self._book.faults.add(fault)
        return answer({"kind": fault.kind, "instrument": fault.instrument})

    async def fill(self, _request: web.Request) -> web.Response:
        """What never existed does from now on, on REST: the exchange has found it."""
        self._book.missing.clear()
        return answer({"holes": 0})

    async def mend(self, _request: web.Request) -> web.Response:
        """End every fault, whatever its count."""
        self._book.faults.end()
        return answer({"running": 0})


def _fault(body: dict[str, Any]) -> Fault:
    instrument = body.get("instrument")
    unknown = set(body) - {"kind", "instrument", "after", "count", "ms"}
    if unknown:
        message = f"unknown fields {sorted(unknown)}"
        raise ValueError(message)
    return Fault(
        kind=FaultKind(body.get("kind", "")),
        instrument=None if instrument is None else _id_of(str(instrument)),
        after=_count(body.get("after", 0)),
        count=_count(body.get("count", 1)),
        ms=int(body.get("ms", 1500)),
    )


def _id_of(instrument: str) -> str:
    """`BTCUSDT` of `BTC/USDT`, `BTCUSDT` or `exchange:BTC/USDT`."""
    head, _, tail = instrument.partition(":")
    return market_id(tail if tail and "/" not in head else instrument)


def _count(value: object) -> int:
    if not isinstance(value, int) or value < 0:
        message = f"after and count must be whole numbers from 0, not {value!r}"
        raise ValueError(message)
    return value


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        body = orjson.loads(await request.read())
    except orjson.JSONDecodeError:
        return {}
    return body if isinstance(body, dict) else {}


def _refused(message: str) -> web.Response:
    return answer({"error": message}, status=400)
