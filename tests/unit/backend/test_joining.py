"""What has left is not taken for a typo."""

from __future__ import annotations

from backend.joining import not_watched
from domain.errors import UnknownSymbolError
from domain.market import Instrument

BTC, ETH, SOL = (Instrument("kraken", f"{base}/USD") for base in ("BTC", "ETH", "SOL"))


def test_what_has_left_is_not_taken_for_a_typo() -> None:
    left, typo = (not_watched(one, [BTC], [BTC, ETH]) for one in (ETH, SOL))

    assert str(left) == "kraken:ETH/USD is not watched: it has left already"
    assert isinstance(typo, UnknownSymbolError)
    assert typo.suggestions == ["BTC/USD"]
