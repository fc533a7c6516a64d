"""ccxt's errors become ours, each as one line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from collectors.ccxt_import import ccxt_module
from collectors.pacing import retry_after
from collectors.refusals import UnlistedError
from collectors.unreadable import stumble
from domain.errors import (
    AlphaPulseError,
    ExchangeError,
    ExchangeRefusedError,
    ExchangeUnavailableError,
    RateLimitedError,
    in_one_line,
)
from domain.market import from_ms

BANNED = 418
REFUSED = {403, 451}
# Binance bans an address for at least two minutes; without a header that is the best guess.
BAN = timedelta(minutes=2)
PAUSE = timedelta(seconds=30)  # after a 429 that does not say how long, or no time at all

_STATUS = re.compile(r"^\S+ (?:[A-Z]+ \S+ )?(\d{3})\b")
_LONGEST = 300  # characters
# As Binance (451), CloudFront before Bybit (403, to ccxt a limit) and Bybit (10024) say it.
_COUNTRY = re.compile(
    "restricted location|block access from your country|regulatory restriction", re.IGNORECASE
)
_UNLISTED = re.compile("unknown asset pair|EQuery:Invalid asset pair", re.IGNORECASE)  # Kraken


@contextmanager
def translated(client: Any, *, frame: bool = False) -> Iterator[None]:  # noqa: ANN401 - no types
    """Raise our errors for those of ccxt's `client`, and for those that it stumbles over.

    What it stumbled over is set aside: its newest answer, or its newest `frame`.
    """
    errors = ccxt_module("base.errors")
    try:
        yield
    except AlphaPulseError:
        raise
    except errors.BaseError as error:
        ours = _ours(error, client, errors)
        if isinstance(ours, RateLimitedError) and client.budget is not None:
            client.budget.pause(ours.retry_after)
        raise ours from error
    except Exception as error:
        raw = client.last_frame if frame else client.last_http_response
        client.unread.put(raw or "", stumble(error))
        line = f"what {client.id} answers cannot be read: {stumble(error)}"
        raise ExchangeUnavailableError(line) from error


def _ours(error: Exception, client: Any, errors: Any) -> ExchangeError:  # noqa: ANN401 - as above
    line = in_one_line(error)[:_LONGEST]
    line += _of_the_network(error.__cause__)
    found = _STATUS.match(line)
    status = int(found[1]) if found else 0
    if _COUNTRY.search(str(error)):
        return ExchangeRefusedError(f"{client.id} does not serve the country of this address")
    if isinstance(error, (errors.DDoSProtection, errors.RateLimitExceeded)):
        return RateLimitedError(line, _retry_after(client, status))
    if status in REFUSED:
        return ExchangeRefusedError(
            f"{client.id} refuses to answer from here (HTTP {status}): its terms or a firewall"
        )
    if isinstance(error, errors.BadSymbol) or _UNLISTED.search(line):
        return UnlistedError(f"{client.id} does not serve it: delisted or renamed ({line})")
    if isinstance(error, errors.AuthenticationError):
        return ExchangeRefusedError(
            f"{client.id} demands an API key, and only public data is asked for ({line})"
        )
    refused = isinstance(error, errors.ExchangeError) and type(error) is not errors.ExchangeError
    return ExchangeError(line) if refused else ExchangeUnavailableError(line)


def _of_the_network(cause: BaseException | None) -> str:
    """What ccxt leaves out of its errors: no such name, refused, no answer in time."""
    if isinstance(cause, TimeoutError):
        return ": no answer in time"
    failure = getattr(cause, "os_error", cause)  # aiohttp keeps that of the system
    if not isinstance(failure, OSError):
        return ""
    number = failure.errno or 0  # negative where a name was looked up
    return f": {os.strerror(number) if number > 0 else failure.strerror or failure}"


def _retry_after(client: Any, status: int) -> timedelta:  # noqa: ANN401 - as above
    headers = {name.lower(): value for name, value in (client.last_response_headers or {}).items()}
    told = retry_after(headers.get("retry-after", ""), from_ms(client.milliseconds()))
    return told or (BAN if status == BANNED else PAUSE)
