"""Instruments by names in a body: those that are known, and what is said of the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from backend.api.parameters import Named
from backend.api.problems import from_usage
from domain.errors import UnknownExchangeError, UnknownNameError, UnknownSymbolError, shortened
from domain.market import Instrument

HINTED: Final = 10  # unknown instruments of a query that are answered with the nearest names
MALFORMED: Final = {
    "code": "bad_request",
    "detail": "an instrument is named exchange:symbol, as in binance:BTC/USDT",
    "suggestions": [],
}


@dataclass(frozen=True, slots=True)
class Chosen:
    """The numbers of the instruments that are known, and why the others are not."""

    ids: list[int]
    rejected: list[dict[str, Any]]


def sort_out(asked: Sequence[Named], known: Mapping[Instrument, int]) -> Chosen:
    """Each name once; the first few that are unknown with the nearest that are known.

    Args:
        asked: names as they were sent.
        known: the instruments that the caller sees, with their numbers.
    """
    symbols: dict[str, list[str]] = {}
    for one in known:
        symbols.setdefault(one.exchange, []).append(one.symbol)
    ids: list[int] = []
    rejected: list[dict[str, Any]] = []
    for name in dict.fromkeys(map(str, asked)):
        instrument = Instrument.parse(name)
        if instrument in known:
            ids.append(known[instrument])
        else:
            reason = _reason(instrument, symbols, hinted=len(rejected) < HINTED)
            rejected.append({"instrument": shortened(name), **reason})
    return Chosen(ids, rejected)


def _reason(
    instrument: Instrument, symbols: Mapping[str, list[str]], *, hinted: bool
) -> dict[str, Any]:
    if not (instrument.exchange and instrument.symbol):
        return MALFORMED
    kind, name, known = _unknown(instrument, symbols)
    problem = from_usage(kind(name, known if hinted else ()))
    detail = problem.detail if hinted else f"unknown {kind.noun} {shortened(name)!r}"
    suggestions = problem.more["suggestions"]
    return {"code": problem.code, "detail": detail, "suggestions": suggestions}


def _unknown(
    instrument: Instrument, symbols: Mapping[str, list[str]]
) -> tuple[type[UnknownNameError], str, list[str]]:
    if instrument.exchange not in symbols:
        return UnknownExchangeError, instrument.exchange, [*symbols]
    return UnknownSymbolError, instrument.symbol, symbols[instrument.exchange]
