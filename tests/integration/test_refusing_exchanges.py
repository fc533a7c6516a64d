"""An exchange that refuses says so in one clear line, through the real client of ccxt.

The payloads are written from the exchanges' documentation and from what they are known to
answer; none of these was recorded.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from collectors.ccxt_errors import PAUSE
from collectors.ccxt_exchange import CcxtExchange
from collectors.pacing import LONGEST_PAUSE
from collectors.refusals import UnlistedError
from domain.errors import (
    ExchangeError,
    ExchangeRefusedError,
    RateLimitedError,
    UnknownSymbolError,
)
from domain.market import Instrument, Timeframe, from_ms
from tests.served_payloads import Answer, served

H1 = Timeframe.H1
NOW_MS = 1_700_000_000_000

CLOUDFRONT = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<HTML><H1>403 ERROR</H1>\nThe Amazon CloudFront '
    "distribution is configured to block access from your country.\n</HTML>"
)
BINANCE_TERMS = {
    "code": 0,
    "msg": "Service unavailable from a restricted location according to 'b. Eligibility' in "
    "https://www.binance.com/en/terms. Please contact customer service if you believe you "
    "received this message in error.",
}
REGULATED = {
    "retCode": 10024,
    "retMsg": "The product or service you are seeking to access is not available to you due to "
    "regulatory restrictions.",
}
COUNTRY = "does not serve the country of this address"
FIREWALL = r"refuses to answer from here \(HTTP {}\): its terms or a firewall"
KEY = "demands an API key, and only public data is asked for"
REFUSALS = {
    "binance-451": ("binance", Answer(BINANCE_TERMS, 451), COUNTRY),
    "binanceusdm-451": ("binanceusdm", Answer(BINANCE_TERMS, 451), COUNTRY),
    "bybit-403-by-country": ("bybit", Answer(CLOUDFRONT, 403), COUNTRY),
    "bybit-10024": ("bybit", Answer(REGULATED), COUNTRY),
    "kraken-451": ("kraken", Answer("", 451), FIREWALL.format(451)),
    "okx-403": ("okx", Answer("error code: 1020", 403), FIREWALL.format(403)),
    "binance-key": ("binance", Answer({"code": -2014, "msg": "API-key format invalid."}, 401), KEY),
    "bybit-key": ("bybit", Answer({"retCode": 10003, "retMsg": "API key is invalid."}), KEY),
    "coinbase-key": ("coinbase", Answer("Unauthorized\n", 401), KEY),
    "coinbaseexchange-key": (
        "coinbaseexchange",
        Answer({"message": "invalid api key"}, 401),
        KEY,
    ),
    "kraken-key": ("kraken", Answer({"error": ["EAPI:Invalid key"]}), KEY),
    "okx-key": (
        "okx",
        Answer({"code": "50103", "msg": "Request header OK-ACCESS-KEY can not be empty."}, 401),
        KEY,
    ),
}
UNLISTED = {
    "binance": Answer({"code": -1121, "msg": "Invalid symbol."}, 400),
    "kraken": Answer({"error": ["EQuery:Unknown asset pair"]}),
    "okx": Answer({"code": "51001", "msg": "Instrument ID does not exist", "data": []}),
}


def listed(base: str, status: str = "TRADING") -> dict[str, Any]:
    """A symbol of Binance's exchangeInfo, as documented."""
    return {
        "symbol": f"{base}USDT", "status": status, "baseAsset": base, "quoteAsset": "USDT",
        "baseAssetPrecision": 8, "quotePrecision": 8, "isSpotTradingAllowed": True,
        "permissions": ["SPOT"], "orderTypes": ["LIMIT"],
        "filters": [
            {"filterType": "PRICE_FILTER", "tickSize": "0.01", "minPrice": "0", "maxPrice": "0"},
            {"filterType": "LOT_SIZE", "stepSize": "0.1", "minQty": "0.1", "maxQty": "1000"},
        ],
    }  # fmt: skip


def info(*symbols: dict[str, Any]) -> Answer:
    return Answer({"timezone": "UTC", "serverTime": NOW_MS, "rateLimits": [], "symbols": symbols})


@asynccontextmanager
async def answered(exchange_id: str, **answers: Answer) -> AsyncIterator[CcxtExchange]:
    """An exchange whose paths that end so are answered so; `everything` is all other paths."""
    paths = {"" if name == "everything" else name: answer for name, answer in answers.items()}
    async with served(paths) as server:
        exchange = CcxtExchange(exchange_id, rest_url=server.rest_url, rate_limited=False)
        try:
            yield exchange
        finally:
            await exchange.close()


@pytest.mark.parametrize("name", sorted(REFUSALS))
async def test_a_refusal_is_one_clear_line(name: str) -> None:
    exchange_id, answer, said = REFUSALS[name]
    async with answered(exchange_id, everything=answer) as exchange:
        with pytest.raises(ExchangeRefusedError, match=f"^{exchange_id} {said}") as caught:
            await exchange.listings(["BTC/USDT"])

    assert "\n" not in str(caught.value)


async def test_what_an_exchange_says_can_be_shown_and_stored() -> None:
    said = Answer('{"code": -1, "msg": "a\0b\x1b[2J\n\x9bc"}', 400)
    async with answered("binance", everything=said) as exchange:
        with pytest.raises(ExchangeError, match="a b") as caught:
            await exchange.listings(["BTC/USDT"])

    assert str(caught.value).isprintable()


async def test_a_403_of_bybit_without_a_country_is_its_rate_limit() -> None:
    too_often = Answer("access too frequent", 403, {"Retry-After": "7"})
    async with answered("bybit", everything=too_often) as exchange:
        with pytest.raises(RateLimitedError) as caught:
            await exchange.listings(["BTC/USDT"])

    assert caught.value.retry_after == timedelta(seconds=7)


@pytest.mark.parametrize("status", [418, 429])
async def test_how_long_to_pause_is_taken_from_the_answer(status: int) -> None:
    body = {"code": -1003, "msg": "Too many requests; current limit is 6000 weight per minute."}
    async with answered(
        "binance", everything=Answer(body, status, {"Retry-After": "41"})
    ) as exchange:
        with pytest.raises(RateLimitedError) as caught:
            await exchange.listings(["BTC/USDT"])

    assert caught.value.retry_after == timedelta(seconds=41)


@pytest.mark.parametrize(
    ("told", "pause"),
    [
        ("999999999999", LONGEST_PAUSE),
        ("999999999999999", LONGEST_PAUSE),
        ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_PAUSE),
        ("\N{SUPERSCRIPT TWO}", PAUSE),
        ("Mon, 01 Jan 2024 00:00:00 +99999999999999999999", PAUSE),
        ("0", PAUSE),
    ],
)
async def test_a_pause_out_of_measure_is_bounded_or_ours(told: str, pause: timedelta) -> None:
    too_many = Answer({"code": -1003, "msg": "Too many requests."}, 429, {"Retry-After": told})
    async with answered("binance", everything=too_many) as exchange:
        with pytest.raises(RateLimitedError) as caught:
            await exchange.listings(["BTC/USDT"])

    assert caught.value.retry_after == pause


@pytest.mark.parametrize("exchange_id", sorted(UNLISTED))
async def test_an_instrument_that_is_not_served_any_more_is_told_apart(exchange_id: str) -> None:
    async with answered(exchange_id, everything=UNLISTED[exchange_id]) as exchange:
        exchange._client.set_markets([dict(MARKET)])
        exchange._known_ms = NOW_MS
        with pytest.raises(UnlistedError, match="delisted or renamed") as caught:
            await exchange.fetch_candles(
                Instrument(exchange_id, "LUNA/USDT"),
                H1,
                since=from_ms(NOW_MS - 10 * H1.ms),
                until=from_ms(NOW_MS - 5 * H1.ms),
            )

    assert "\n" not in str(caught.value)


MARKET = {
    "id": "LUNAUSDT", "symbol": "LUNA/USDT", "base": "LUNA", "quote": "USDT", "type": "spot",
    "spot": True, "active": True, "contract": False, "precision": {"price": 0.01, "amount": 0.1},
    "limits": {}, "info": {},
}  # fmt: skip


@pytest.mark.parametrize("told", ["NaN", "Infinity", "-Infinity", "1e400", "1e-320", "-1"])
async def test_a_size_that_cannot_be_is_not_known(told: str) -> None:
    market = listed("BTC")
    price, lot = market["filters"]
    price["tickSize"] = lot["stepSize"] = told
    market["filters"].append({"filterType": "NOTIONAL", "minNotional": told})
    async with answered("binance", exchangeInfo=info(market)) as exchange:
        (listing,) = await exchange.listings(["BTC/USDT"])

    assert (listing.tick_size, listing.lot_size, listing.min_notional) == (None, None, None)


async def test_a_delisted_symbol_is_said_to_be_no_longer_traded(
    caplog: pytest.LogCaptureFixture,
) -> None:
    markets = info(listed("BTC"), listed("LUNA", status="BREAK"))
    with caplog.at_level(logging.WARNING):
        async with answered("binance", exchangeInfo=markets) as exchange:
            await exchange.listings(["BTC/USDT", "LUNA/USDT"])

    said = [record.getMessage() for record in caplog.records if "LUNA" in record.getMessage()]
    assert said == ["binance lists LUNA/USDT and does not trade it: delisted or halted"]


async def test_a_renamed_ticker_is_told_with_its_new_name() -> None:
    async with answered("binance", exchangeInfo=info(listed("BTC"), listed("POL"))) as exchange:
        with pytest.raises(UnknownSymbolError) as caught:
            await exchange.listings(["MATIC/USDT"])

    assert caught.value.suggestions == ["POL/USDT"]
    assert str(caught.value) == (
        "binance lists no MATIC/USDT any more: MATIC is POL now; ask for POL/USDT"
    )


async def test_a_name_is_not_called_renamed_where_the_new_one_is_not_listed() -> None:
    async with answered("binance", exchangeInfo=info(listed("BTC"))) as exchange:
        with pytest.raises(UnknownSymbolError, match="unknown symbol 'MATIC/USDT'"):
            await exchange.listings(["MATIC/USDT"])
