"""From items to scored rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from domain.sources import TextItem
from services.sentiment.lexicon import Lexicon
from services.sentiment.reader import Reader


def item(item_id: str, title: str, **changes: Any) -> TextItem:
    return TextItem(
        **{"source": "news", "published_ms": 1, "known_ms": 2, **changes},
        item_id=item_id,
        title=title,
    )


def test_an_item_has_a_row_for_each_asset_with_its_share() -> None:
    rows = Reader(Lexicon()).on_texts(
        [item("1", "Bitcoin and Ethereum soar", body="bitcoin, bitcoin!", engagement=7.0)]
    )

    assert list(rows.asset) == ["BTC", "ETH"]
    assert list(rows.relevance) == [0.75, 0.25]
    assert list(rows.engagement) == [7.0, 7.0]
    assert list(rows.scorer) == ["lexicon@1"] * 2
    assert (rows.polarity > 0.3).all()


def test_an_item_that_names_no_asset_has_one_row_without() -> None:
    rows = Reader(Lexicon()).on_texts([item("1", "Markets crash")])

    assert (list(rows.asset), list(rows.relevance)) == ([""], [1.0])


def test_a_text_of_another_language_is_linked_and_not_scored() -> None:
    rows = Reader(Lexicon()).on_texts([item("1", "El bitcoin es una scam para los bancos, super")])

    assert (list(rows.asset), list(rows.language)) == (["BTC"], ["other"])
    assert np.isnan(rows.polarity).all()
    assert list(rows.confidence) == [0.0]


def test_a_headline_makes_the_story_whatever_stands_below_it() -> None:
    title = "Exchange halts withdrawals after a hack"
    rows = Reader(Lexicon()).on_texts(
        [
            item("1", title, body="The first report of the day, with details."),
            item("2", title, body="Another author, in other words.", source="wire", known_ms=3),
        ]
    )

    assert list(rows.cluster) == ["news:1", "news:1"]


def test_titles_of_few_words_do_not_make_a_story() -> None:
    rows = Reader(Lexicon()).on_texts(
        [
            item("1", "Daily thread", body="Nothing moved today, and volumes were thin."),
            item("2", "Daily thread", body="A large seller came in before noon."),
        ]
    )

    assert list(rows.cluster) == ["news:1", "news:2"]


def test_no_items_are_no_rows() -> None:
    assert len(Reader(Lexicon()).on_texts([])) == 0
