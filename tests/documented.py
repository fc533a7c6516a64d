"""Frames written from the exchanges' documentation: none of these was recorded."""

from __future__ import annotations

from typing import Any

SYMBOL = "BTC/USDT"
OPEN_MS = 1_700_000_040_000

# Binance «Kline/Candlestick Streams», Kraken WebSocket v2 «OHLC», Bybit v5 «Kline»,
# OKX v5 «Candlesticks channel».


def kline(**changes: Any) -> dict[str, Any]:
    """Binance's message of one candle, with `changes` to its `k`."""
    k = {
        "t": OPEN_MS, "T": OPEN_MS + 59_999, "s": "BTCUSDT", "i": "1m", "f": 100, "L": 200,
        "o": "100.0", "c": "101.0", "h": "102.0", "l": "99.0", "v": "10.5", "n": 100,
        "x": False, "q": "1050.0", "V": "5.0", "Q": "500.0", "B": "0",
    }  # fmt: skip
    return {"e": "kline", "E": OPEN_MS + 5_000, "s": "BTCUSDT", "k": k | changes}


FRAMES: dict[str, dict[str, Any]] = {
    "binance": kline(),
    "bybit": {
        "topic": "kline.1.BTCUSDT",
        "data": [
            {
                "start": OPEN_MS, "end": OPEN_MS + 59_999, "interval": "1", "open": "100",
                "close": "101", "high": "102", "low": "99", "volume": "10.5",
                "turnover": "1050", "confirm": False, "timestamp": OPEN_MS + 5_000,
            }
        ],
        "ts": OPEN_MS + 5_000,
        "type": "snapshot",
    },
    "kraken": {
        "channel": "ohlc",
        "type": "update",
        "timestamp": "2023-11-14T22:14:05.000000Z",
        "data": [
            {
                "symbol": "BTC/USDT", "open": 100.0, "high": 102.0, "low": 99.0, "close": 101.0,
                "trades": 2, "volume": 10.5, "vwap": 100.5,
                "interval_begin": "2023-11-14T22:14:00.000000000Z", "interval": 1,
                "timestamp": "2023-11-14T22:15:00.000000Z",
            }
        ],
    },
    "okx": {
        "arg": {"channel": "candle1m", "instId": "BTC-USDT"},
        "data": [[str(OPEN_MS), "100", "102", "99", "101", "10.5", "1050", "1050", "0"]],
    },
}  # fmt: skip

URLS = {
    "binance": "wss://stream.binance.com:9443/ws/1",
    "bybit": "wss://stream.bybit.com/v5/public/spot",
    "kraken": "wss://ws.kraken.com/v2",
    "okx": "wss://ws.okx.com:8443/ws/v5/business",
}

_IDS = {"binance": "BTCUSDT", "bybit": "BTCUSDT", "kraken": "XBTUSDT", "okx": "BTC-USDT"}


def _market(market_id: str, **more: Any) -> dict[str, Any]:
    return {
        "id": market_id, "symbol": SYMBOL, "base": "BTC", "quote": "USDT", "baseId": "BTC",
        "quoteId": "USDT", "type": "spot", "spot": True, "margin": False, "swap": False,
        "future": False, "option": False, "contract": False, "active": True, "linear": None,
        "inverse": None, "settle": None, "precision": {"price": 0.01, "amount": 1e-5},
        "limits": {}, "info": {"wsname": "XBT/USDT"}, "lowercaseId": market_id.lower(), **more,
    }  # fmt: skip


MARKETS = {exchange_id: _market(market_id) for exchange_id, market_id in _IDS.items()}
