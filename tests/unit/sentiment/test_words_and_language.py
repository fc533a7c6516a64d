"""Plain text from what sources send, and whether it is English."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.sentiment.language import language
from services.sentiment.words import LONGEST, normalise, words


def test_addresses_and_user_names_leave_no_trace() -> None:
    text = normalise(
        "thanks @vitalik_99 and /u/some-one (u/hodler), see https://example.org/a?b=c, "
        "coin.example/join/abc, write to me@example.org or [this page](http://example.com)"
    )

    assert text == "thanks and ( ), see write to or this page"


def test_markup_entities_and_look_alikes_become_plain_letters() -> None:
    sent = "<p>AT&amp;T’s  𝐁𝐓𝐂\u200b</p>&lt;br/&gt;isn’t &#62; 2"  # noqa: RUF001

    assert normalise(sent) == "AT&T's BTC isn't > 2"


def test_a_comparison_is_no_markup() -> None:
    assert normalise("BTC < 50k and ETH > 3k") == "BTC < 50k and ETH > 3k"


def test_a_huge_text_is_read_up_to_its_bound() -> None:
    assert len(normalise("moon " * 1_000_000)) <= LONGEST


@given(st.text(max_size=200))
def test_any_text_is_normalised_and_names_no_one(text: str) -> None:
    plain = normalise(text)

    assert "  " not in plain
    assert "http://" not in plain
    assert all(word == word.lower() for word in words(plain))


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("Bitcoin falls as traders wait for the Fed", "en"),
        ("El Salvador buys the dip", "en"),
        ("Don't sell", "en"),
        ("Solana TVL hits $10B", "und"),
        ("", "und"),
        ("$BTC 🚀🚀", "und"),
        ("El precio de bitcoin cae por la noticia", "other"),
        ("Der Kurs ist gefallen und die Anleger warten", "other"),
        ("Le prix du bitcoin est en baisse dans le monde", "other"),
        ("Preço do bitcoin não para de subir, diz uma análise", "other"),
        ("Bu ve daha fazla bilgi için", "other"),
        ("Биткоин вырос на 5%", "other"),
        ("比特币价格上涨", "other"),
    ],
)
def test_a_language_is_told_or_said_to_be_undetermined(text: str, spoken: str) -> None:
    assert language(normalise(text)) == spoken
