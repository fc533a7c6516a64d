"""What is said of a name that is not known."""

from __future__ import annotations

import pytest

from domain.errors import UnknownSymbolError, nearest

MANY = [f"{letter}{letter}/USDT" for letter in "ABCDEFGHIJKLMN"]


@pytest.mark.parametrize(
    ("name", "known", "said"),
    [
        ("DOGS", ["DOGE", "XRP"], "unknown symbol 'DOGS'; nearest: DOGE"),
        ("q", ["XRP", "DOGE"], "unknown symbol 'q'; known: DOGE, XRP"),
        ("q", MANY, f"unknown symbol 'q'; known: {', '.join(MANY[:12])} and 2 more"),
        ("q", [], "unknown symbol 'q'; none is known"),
        ("q" * 70_000, ["XRP"], f"unknown symbol '{'q' * 64}…'; known: XRP"),
    ],
)
def test_near_names_are_called_near_and_a_shortened_list_says_so(
    name: str, known: list[str], said: str
) -> None:
    assert str(UnknownSymbolError(name, known)) == said


def test_the_nearest_of_many_names_is_found_whatever_letter_is_wrong() -> None:
    known = [*MANY, "DOGE/USDT", *(name.replace("USDT", "EUR") for name in MANY)]

    for name in ("DOGE/USD", "doge/USDT", "XOGE/USDT", "DOGEUSDT", "DGOE/USDT", "DOGE/USDTT"):
        assert nearest(name, known)[0] == "DOGE/USDT", name
