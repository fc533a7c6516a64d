"""Texts in, scored rows out: normalise, language, assets, story, score."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np

from domain.sources import TextItem
from services.sentiment.clusters import Clusters
from services.sentiment.items import NO_ASSET, ScoredItems
from services.sentiment.language import FOREIGN, language
from services.sentiment.linking import AssetLinker
from services.sentiment.scorers import UNKNOWN, Scorer
from services.sentiment.words import normalise, words

HEADLINE: Final = 4  # words from which a title alone tells a story; feeds differ in what follows

Row = dict[str, str | float | int]


class Reader:
    """Remembers the stories of the last days, and nothing else."""

    def __init__(
        self, scorer: Scorer, *, assets: Iterable[str] = (), clusters: Clusters | None = None
    ) -> None:
        self._scorer = scorer
        self._assets = frozenset(assets)
        self._linker = AssetLinker(self._assets)
        self._clusters = clusters or Clusters()

    def watch(self, assets: Iterable[str]) -> None:
        """Texts may speak of these too from now on."""
        if not self._assets.issuperset(assets := frozenset(assets)):
            self._assets |= assets
            self._linker = AssetLinker(self._assets)

    def on_texts(self, items: Iterable[TextItem]) -> ScoredItems:
        """Rows in the order (known at, source, item, asset), whatever the order of the items.

        Batches come in the order in which they were known.
        """
        ordered = sorted(items, key=lambda item: (item.known_ms, item.source, item.item_id))
        return _columns([row for item in ordered for row in self._rows(item)])

    def remember(self, items: Iterable[TextItem]) -> None:
        """Take in the stories of items that were read before, as after a restart."""
        for item in sorted(items, key=lambda item: (item.known_ms, item.source, item.item_id)):
            self._story(item)

    def _story(self, item: TextItem) -> str:
        title = normalise(item.title)
        told = title if len(words(title)) >= HEADLINE else _text(item)
        return self._clusters.on_text(f"{item.source}:{item.item_id}", told, item.known_ms)

    def _rows(self, item: TextItem) -> list[Row]:
        text = _text(item)
        spoken = language(text)
        score = UNKNOWN if spoken == FOREIGN else self._scorer.score(text)
        common: Row = {
            "source": item.source,
            "item_id": item.item_id,
            "cluster": self._story(item),
            "language": spoken,
            "published_ms": item.published_ms,
            "known_ms": item.known_ms,
            "engagement": item.engagement,
            "scorer": self._scorer.name,
            "polarity": score.polarity,
            "confidence": score.confidence,
        }
        links = self._linker.links(text) or {NO_ASSET: 1.0}
        return [{**common, "asset": asset, "relevance": share} for asset, share in links.items()]

    def snapshot(self) -> dict[str, Any]:
        return {"clusters": self._clusters.snapshot()}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._clusters = Clusters.restore(state["clusters"])


def _text(item: TextItem) -> str:
    return normalise(f"{item.title}\n{item.body}")


def _columns(rows: list[Row]) -> ScoredItems:
    def texts(name: str) -> Any:  # noqa: ANN401 - numpy's
        return np.array([row[name] for row in rows], dtype=np.str_)

    def floats(name: str) -> Any:  # noqa: ANN401
        return np.array([row[name] for row in rows], dtype=np.float64)

    def times(name: str) -> Any:  # noqa: ANN401
        return np.array([row[name] for row in rows], dtype=np.int64)

    return ScoredItems(
        source=texts("source"),
        item_id=texts("item_id"),
        asset=texts("asset"),
        relevance=floats("relevance"),
        cluster=texts("cluster"),
        language=texts("language"),
        published_ms=times("published_ms"),
        known_ms=times("known_ms"),
        engagement=floats("engagement"),
        scorer=texts("scorer"),
        polarity=floats("polarity"),
        confidence=floats("confidence"),
    )
