"""An order without an exchange is one to every exchange that knows the symbol."""

from __future__ import annotations

import pytest

from backend.joining import from_those_that_know
from domain.errors import ExchangeUnavailableError, UnknownSymbolError, UsageError
from domain.market import Instrument

Answer = Instrument | Exception
BTC = Instrument("kraken", "BTC/USD")
UNLISTED = UnknownSymbolError("BTC/USD", ["BTC/USDT"])
UNLISTED_TOO = UnknownSymbolError("BTC/USD", ["BTC/USDC"])
AWAY = ExchangeUnavailableError("it does not answer")
LAST = UsageError("it is the last one")


async def told(answer: Answer) -> Instrument:
    if isinstance(answer, Exception):
        raise answer
    return answer


@pytest.mark.parametrize("others", [[UNLISTED], [AWAY], [LAST, UNLISTED]])
async def test_those_that_know_it_follow_it_whatever_others_say(others: list[Exception]) -> None:
    answers: list[Answer] = [*others, BTC]

    assert await from_those_that_know("BTC/USD", [told(one) for one in answers]) == [BTC]


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([UNLISTED], "nearest: BTC/USDT$"),
        ([UNLISTED, UNLISTED_TOO], "nearest: BTC/USDT, BTC/USDC$"),
        ([UNLISTED, AWAY], "it does not answer"),
        ([BTC, ValueError("a defect")], "a defect"),
    ],
)
async def test_where_nobody_can_the_reason_is_told(answers: list[Answer], said: str) -> None:
    with pytest.raises(Exception, match=said):
        await from_those_that_know("BTC/USD", [told(one) for one in answers])
