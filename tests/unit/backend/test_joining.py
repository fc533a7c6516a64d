"""An order without an exchange is one to every exchange that knows the symbol."""

from __future__ import annotations

import pytest

from backend.joining import from_those_that_know, not_watched
from domain.errors import ExchangeUnavailableError, UnknownSymbolError, UsageError
from domain.market import Instrument

Answer = Instrument | Exception
BTC, ETH, SOL = (Instrument("kraken", f"{base}/USD") for base in ("BTC", "ETH", "SOL"))
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


def test_what_has_left_is_not_taken_for_a_typo() -> None:
    left, typo = (not_watched(one, [BTC], [BTC, ETH]) for one in (ETH, SOL))

    assert str(left) == "kraken:ETH/USD is not watched: it has left already"
    assert isinstance(typo, UnknownSymbolError)
    assert typo.suggestions == ["BTC/USD"]
