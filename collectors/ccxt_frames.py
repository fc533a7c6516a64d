"""ccxt's client, in which nothing that an exchange sends can raise.

ccxt's receive loop ends when a handler raises, and says nothing: the connection is deaf from
then on. Here a frame or a row that cannot be read goes to `unread` with its bytes, and the
stream goes on. What ccxt raises in words of its own (`BaseError`) is an exchange's refusal;
it ends the watch as well.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import orjson

from collectors.budget import Budget
from collectors.ccxt_import import ccxt_module
from collectors.ccxt_rows import moment, number
from collectors.unreadable import Unread, stumble
from domain.errors import ExchangeUnavailableError

HEARTBEATS = {"ping", "pong"}  # words of exchanges that do not use the socket's own


def with_guard(exchange: type[Any]) -> type[Any]:
    """A subclass of ccxt's `exchange` that puts what cannot be read into `unread`.

    Its instances have `unread` and `on_frame`, which is shown every frame, with its address,
    before it is read.
    """
    parents_client, parents_parse = exchange.client, exchange.parse_ohlcvs

    def client(self: Any, url: str) -> Any:  # noqa: ANN401 - ccxt has no types
        known = url in (self.clients or {})
        made = parents_client(self, url)
        if not known:
            made.handle_message = _guarded(self, made)
        return made

    def parse_ohlcvs(self: Any, ohlcvs: Any, *args: Any, **words: Any) -> Any:  # noqa: ANN401 - as above
        return parents_parse(self, _readable_rows(self, ohlcvs, *args[:1]), *args, **words)

    return type(
        exchange.__name__,
        (exchange,),
        {
            "client": client,
            "parse_ohlcvs": parse_ohlcvs,
            "unread": None,
            "on_frame": None,
            "last_frame": None,
            "budget": None,
        },
    )


def _guarded(exchange: Any, client: Any) -> Callable[[Any], None]:  # noqa: ANN401 - as above
    """The client's `handle_message` with a floor beneath it."""
    read = client.handle_message
    refusal = ccxt_module("base.errors").BaseError

    def handle_message(message: Any) -> None:  # noqa: ANN401 - as above
        data = message.data if message.type.name in {"TEXT", "BINARY"} else None
        if data is not None:
            exchange.last_frame = data
            if exchange.on_frame is not None:
                exchange.on_frame(client.url, data)
        try:
            read(message)
        except refusal as error:
            _set_aside(exchange, data, stumble(error))
            client.reject(error)
        except Exception as error:  # noqa: BLE001 - whatever a parser stumbles over, the stream goes on
            _set_aside(exchange, data, stumble(error))
        else:
            if isinstance(data, str) and not _is_known(data):
                _set_aside(exchange, data, "not JSON")

    return handle_message


def _is_known(text: str) -> bool:
    """Whether a text that nobody stumbled over is JSON or a heartbeat."""
    return (len(text) > 1 and text[0] in "{[") or text.lower() in HEARTBEATS


def _set_aside(exchange: Any, data: Any, reason: str) -> None:  # noqa: ANN401 - as above
    unread: Unread = exchange.unread
    unread.put(data if isinstance(data, str | bytes) else repr(data), reason)


def _readable_rows(exchange: Any, rows: Any, market: Any = None) -> list[Any]:  # noqa: ANN401 - as above
    """The rows that can be read; the others are set aside.

    Raises:
        ExchangeUnavailableError: what came is no list. No rows would mean that there are none.
    """
    if rows is None:
        return []
    if not isinstance(rows, list):
        _set_aside(exchange, repr(rows), "not a list of candles")
        raise ExchangeUnavailableError(f"{exchange.id} answers with something else than candles")
    good = []
    for row in rows:
        try:
            parsed = exchange.parse_ohlcv(row, market)
            moment(parsed[0])
            for value in parsed[1:6]:
                number(value)
        except Exception as error:  # noqa: BLE001 - as above: one row must not take the others along
            _set_aside(exchange, spelled(row), stumble(error))
        else:
            good.append(row)
    return good


def draw_on(budget: Budget, exchange: Any) -> None:  # noqa: ANN401 - as above
    """Let ccxt's requests wait for the budget instead of its own queue, at the costs it knows."""

    async def throttle(cost: float | None = None) -> None:
        shares = 1.0 if cost is None else cost
        await budget.draw(timedelta(milliseconds=exchange.rateLimit * shares))

    exchange.throttle, exchange.budget = throttle, budget


def refuse_gibberish(exchange: Any) -> None:  # noqa: ANN401 - as above
    """See that the newest answer was a document at all; to ccxt anything else holds no rows.

    Raises:
        ValueError, TypeError: it was not.
    """
    if not isinstance(orjson.loads(exchange.last_http_response or ""), dict | list):
        raise TypeError("the answer is no document")


def spelled(row: object) -> bytes:
    """The row as the exchange may have sent it."""
    try:
        return orjson.dumps(row)
    except TypeError:  # a number that JSON cannot hold
        return repr(row).encode("utf-8", "surrogatepass")
