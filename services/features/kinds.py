"""Sets that candles are made into: that of the release, and what plug-ins put beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

from domain.events import FeatureSet, Floats
from services.features.feature_set import COLUMNS, OHLCV, Column, Unit

# What is read of every set: by the page and the audit, and by baselines.
KEPT: Final = (
    *("open", "high", "low", "close", "volume", "market_return_1", "ewma_variance"),
    *("gk_variance_1", "gk_variance_4", "gk_variance_24", "gk_variance_168"),
)
LONGEST: Final = 200  # candles that are seen: as many as coverage counts


@runtime_checkable
class CandleKind(Protocol):
    """A candle feature set that stands beside `ohlcv@1`: most of its columns, and others.

    Its own columns are a function of the last candles of their instrument, by the same call
    live and in history, so nothing can look ahead.
    """

    @property
    def name(self) -> str:
        """After it its models are named: `ohlcv2` of `lightgbm_ohlcv2.direction`."""
        ...

    @property
    def version(self) -> int:
        """Of `ohlcv`, 2 or above; another formula is another version."""
        ...

    @property
    def without(self) -> tuple[str, ...]:
        """Columns of `ohlcv@1` that it has not; none of `KEPT`."""
        ...

    @property
    def adds(self) -> tuple[Column, ...]:
        """Its own columns; models read those without a unit."""
        ...

    @property
    def candles(self) -> int:
        """How many candles they see, the present one among them: 1 to `LONGEST`."""
        ...

    @property
    def distributions(self) -> tuple[str, ...]:
        """The packages whose versions its values depend on, numpy aside."""
        ...

    def compute(self, candles: Floats) -> Floats:
        """(n, len(adds)) of `candles` (n, candles, 5): open, high, low, close, volume.

        The newest is last; NaN before a series began. A row depends on its candles alone, and
        is NaN where they do not tell.
        """
        ...


@dataclass(frozen=True, slots=True)
class CandleSet:
    """A set that is computed at each close."""

    feature_set: FeatureSet
    kind: CandleKind | None = None  # None: it is the release's

    @classmethod
    def of(cls, kind: CandleKind) -> CandleSet:
        """That of a plug-in."""
        columns = (*(one for one in COLUMNS if one.name not in kind.without), *kind.adds)
        return cls(
            FeatureSet(
                name=OHLCV.name,
                version=kind.version,
                columns=tuple(one.name for one in columns),
                model_columns=tuple(one.name for one in columns if one.unit is Unit.NONE),
                warmup_bars=OHLCV.warmup_bars,
            ),
            kind,
        )

    @property
    def id(self) -> str:
        return self.feature_set.id

    @property
    def recipes(self) -> str:
        """As recipes and models name it; empty: that of the release."""
        return "" if self.kind is None else self.id

    @property
    def formulas(self) -> dict[str, str]:
        """Column → formula."""
        own = () if self.kind is None else self.kind.adds
        known = {one.name: one.formula for one in (*COLUMNS, *own)}
        return {name: known[name] for name in self.feature_set.columns}

    def models(self, kind: str) -> str:
        """The name by which a kind of model is fitted on it."""
        return kind if self.kind is None else f"{kind}_{self.kind.name}"


RELEASE: Final = CandleSet(OHLCV)
