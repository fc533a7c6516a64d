"""Several exchanges: each that answers is followed, whatever the others say."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from backend.exchanges import Exchanges
from backend.settings import Settings
from domain.errors import ExchangeUnavailableError, UnknownSymbolError, UsageError
from tests.integration.test_refusing_exchanges import BINANCE_TERMS, info, listed
from tests.served_payloads import Answer, served

Answers = dict[str, Answer]
DOWN = {"": Answer("busy", 503)}
ABROAD = {"": Answer(BINANCE_TERMS, 451)}
LOCKED = {"": Answer({"code": -2014, "msg": "API-key format invalid."}, 401)}


def listing(*bases: str) -> Answers:
    return {"exchangeInfo": info(*map(listed, bases)), "": Answer([])}


@asynccontextmanager
async def opened(
    symbols: Sequence[str], answers: Mapping[str, Answers], timeframe: str = "1h"
) -> AsyncIterator[Exchanges]:
    """The exchanges, at servers that answer so."""
    async with AsyncExitStack() as stack:
        where = {}
        for name, given in answers.items():
            server = await stack.enter_async_context(served(given))
            where[name] = {"rest_url": server.rest_url}
        watch = {"exchanges": list(answers), "symbols": symbols, "timeframes": [timeframe]}
        exchanges = Exchanges(settings=Settings.model_validate({"watch": watch, "exchange": where}))
        await exchanges.open(stack)
        yield exchanges


async def test_a_symbol_is_watched_where_it_is_listed_and_that_is_said() -> None:
    asked = ["BTC/USDT", "ETH/USDT", "binance:XRP/USDT"]
    pair = {"binance": listing("BTC", "ETH", "XRP"), "binanceus": listing("BTC", "XRP")}
    async with opened(asked, pair) as exchanges:
        reached = await exchanges.reach()

    watched = [str(one.instrument) for each in reached for one in each.listings]
    assert watched == [
        "binance:BTC/USDT", "binance:ETH/USDT", "binance:XRP/USDT", "binanceus:BTC/USDT",
    ]  # fmt: skip
    assert [note for one in reached for note in one.notes()] == [
        "binanceus does not list ETH/USDT: not watched there"
    ]
    assert exchanges.refused == {}


@pytest.mark.parametrize(
    ("answers", "line"),
    [
        (ABROAD, "binanceus does not serve the country of this address"),
        (LOCKED, "binanceus demands an API key"),
        (listing("ETH"), "binanceus lists none of BTC/USDT"),
    ],
)
async def test_one_that_refuses_is_named_and_not_asked_again(answers: Answers, line: str) -> None:
    async with opened(["BTC/USDT"], {"binance": listing("BTC"), "binanceus": answers}) as exchanges:
        (one,) = await exchanges.reach()
        assert exchanges.refused["binanceus"].startswith(line)
        assert "again" not in exchanges.refused["binanceus"]
        again = [late async for late in exchanges.later()]

    assert one.exchange.id == "binance"
    assert again == []


async def test_one_that_was_away_is_followed_once_it_answers() -> None:
    away = dict(DOWN)
    async with opened(["BTC/USDT"], {"binance": away, "binanceus": listing("BTC")}) as exchanges:
        (one,) = await exchanges.reach()
        said = exchanges.refused["binance"]
        away |= listing("BTC")
        (late,) = [late async for late in exchanges.later()]

    assert (one.exchange.id, late.exchange.id) == ("binanceus", "binance")
    assert said.startswith("binance GET")
    assert said.endswith("; asked again and again")
    assert [str(each.instrument) for each in late.listings] == ["binance:BTC/USDT"]
    assert exchanges.refused == {}


async def test_where_all_refuse_each_has_its_line() -> None:
    async with opened(["BTC/USDT"], {"binance": ABROAD, "binanceus": DOWN}) as exchanges:
        with pytest.raises(ExchangeUnavailableError, match="no exchange can be reached") as error:
            await exchanges.reach()

    first, second = str(error.value).splitlines()
    assert "binance does not serve the country" in first
    assert second.startswith("binanceus GET")


async def test_a_symbol_that_nobody_lists_is_an_error_unless_somebody_did_not_answer() -> None:
    async with opened(
        ["BTC/USTD"], {"binance": listing("BTC"), "binanceus": listing()}
    ) as exchanges:
        with pytest.raises(UnknownSymbolError, match="nearest: BTC/USDT"):
            await exchanges.reach()
    asked = ["BTC/USDT", "ETH/USDT"]
    async with opened(asked, {"binance": listing("BTC"), "binanceus": DOWN}) as exchanges:
        (one,) = await exchanges.reach()

    assert list(one.notes()) == ["binance does not list ETH/USDT: not watched there"]


async def test_a_timeframe_that_one_does_not_serve_leaves_it_out() -> None:
    both = {"binance": listing("BTC"), "kraken": listing()}
    async with opened(["binance:BTC/USDT"], both, "3m") as exchanges:
        (one,) = await exchanges.reach()
        assert one.exchange.id == "binance"
        assert exchanges.refused.keys() == {"kraken"}
    async with opened(["BTC/USDT"], {"kraken": both["kraken"]}, "3m") as exchanges:
        with pytest.raises(UsageError):
            await exchanges.reach()
