"""A symbol is of one exchange where it says so, else of every one that lists it."""

from __future__ import annotations

from typing import Any

import pytest

from backend.symbols import asked_of, listed, refuse_strangers, refuse_unlisted
from domain.errors import ExchangeUnavailableError, UnknownExchangeError, UnknownSymbolError
from tests.doubles import ManualClock
from tests.factories import BTC, ETH, candles
from tests.scripted_exchange import ScriptedExchange


def no(symbol: str, *known: str) -> UnknownSymbolError:
    return UnknownSymbolError(symbol, known)


def test_a_perpetual_is_no_symbol_of_an_exchange() -> None:
    names = ["BTC/USDT:USDT", "binanceusdm:ETH/USDT:USDT", "kraken:BTC/USD"]

    assert asked_of("binanceusdm", names) == ["BTC/USDT:USDT", "ETH/USDT:USDT"]
    assert asked_of("kraken", names) == ["BTC/USDT:USDT", "BTC/USD"]


def test_a_symbol_of_an_exchange_that_is_not_followed_is_named_with_those_that_are() -> None:
    refuse_strangers(["BTC/USD", "kraken:BTC/USD"], ["kraken"])
    with pytest.raises(UnknownExchangeError, match="'krakn'; nearest: kraken"):
        refuse_strangers(["krakn:BTC/USD"], ["kraken"])


@pytest.mark.parametrize(
    ("names", "lacking", "said"),
    [
        (["BTC/USD"], {"kraken": {}, "binance": {"BTC/USD": no("BTC/USD", "BTC/USDT")}}, None),
        (
            ["BTC/USDT", "BTC/EURO"],
            {
                "kraken": {"BTC/EURO": no("BTC/EURO", "BTC/EUR", "BTC/USD")},
                "binance": {"BTC/EURO": no("BTC/EURO", "BTC/EURI")},
            },
            "unknown symbol 'BTC/EURO'; nearest: BTC/EUR, BTC/EURI",
        ),
        (
            ["BTC/USD", "kraken:BTC/USDD"],
            {"kraken": {"BTC/USDD": no("BTC/USDD", "BTC/USD")}, "binance": {}},
            "nearest: BTC/USD",
        ),
        (["BTC/EURO"], {"kraken": {"BTC/EURO": no("BTC/EURO")}, "binance": {}}, None),  # away
    ],
)
def test_a_symbol_is_unknown_only_where_nobody_lists_it(
    names: list[str], lacking: Any, said: str | None
) -> None:
    if said is None:
        refuse_unlisted(names, lacking)
        return
    with pytest.raises(UnknownSymbolError, match=said):
        refuse_unlisted(names, lacking)


async def test_of_what_is_asked_an_exchange_tells_apart_what_it_lists() -> None:
    exchange = ScriptedExchange(ManualClock())
    exchange.record([*candles(1, instrument=BTC), *candles(1, instrument=ETH)])

    found, lacking = await listed(exchange, ["ETH/USDT", "BTC/USTD", "BTC/USDT"])

    assert [one.instrument for one in found] == [ETH, BTC]
    assert lacking["BTC/USTD"].suggestions[0] == "BTC/USDT"


async def test_an_exchange_that_does_not_answer_lists_nothing_and_lacks_nothing() -> None:
    class Away(ScriptedExchange):
        async def listings(self, symbols: object) -> Any:
            raise ExchangeUnavailableError(f"down: {symbols}")

    with pytest.raises(ExchangeUnavailableError):
        await listed(Away(ManualClock()), ["BTC/USDT"])
