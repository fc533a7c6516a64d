"""What an operator may change of training: what is fitted, when, on what, and what takes a seat."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from backend.setting_tables import Group, VariantSettings
from backend.setting_values import Days, Many, MirrorAddress
from domain.market import FURTHEST

if TYPE_CHECKING:
    from services.models.variants import Variant


class TrainingSettings(Group):
    """When and how models are fitted."""

    every_bars: int | None = Field(
        None,
        gt=0,
        le=1_000_000,
        description="candles between fits; where not set a day, at 01:00 UTC, in a replay 30 days",
    )
    delay_bars: int = Field(
        1, ge=1, le=FURTHEST, description="a fit takes effect this many candles later"
    )
    minimum_rows: Many = Field(1_000, description="matured rows before the first fit")
    maximum_rows: Many = Field(
        50_000,
        description="rows of a fit, about: of more, closes are left out evenly over the past",
    )
    trees: int | None = Field(
        None, gt=0, le=1_000_000, description="of each booster; its recipe's where not set"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        "cpu",
        description="XGBoost, CatBoost and networks are fitted on it; auto: a GPU that works",
    )
    kinds: tuple[str, ...] = Field(
        (
            "logistic.direction",
            "xgboost.direction",
            "lightgbm.direction",
            "catboost.direction",
            "lightgbm.volatility",
            "lightgbm.quantiles",
        ),
        description="models that are fitted: of this release, of plug-ins, of variants",
    )
    variants: dict[str, VariantSettings] = Field(
        default_factory=dict, description="kinds with other parameters, as models search finds them"
    )
    online: tuple[str, ...] = Field(
        ("river.direction",), description="models that learn with each label"
    )
    features: tuple[str, ...] = Field(
        (), description="feature sets of plug-ins that fitted models read beside the others"
    )
    candidate: str | None = Field(
        None,
        pattern="^[a-z][a-z0-9_]*$",
        description="a candle feature set of a plug-in, made beside ohlcv@1 until it has won",
    )
    labels: tuple[str, ...] = Field(
        (), description="class labels that are told and predicted: regime, rotation, plug-ins'"
    )
    examine_days: Days | None = Field(
        None,
        gt=0,
        description="days between two looks for drift; where not set 1, in a replay 7",
    )
    promotion: Literal["evidence", "always"] = Field(
        "evidence",
        description="always: each fit takes its seat, as most systems have it; to compare with",
    )
    mirror: MirrorAddress | None = Field(
        None, description="an MLflow server that every version is copied to: http://host:5000"
    )
    triggers: tuple[Literal["error", "coverage", "feature", "prediction", "calibration"], ...] = (
        Field(("error", "coverage"), description="kinds of drift that make a fit due, not a report")
    )

    @field_validator("candidate", mode="before")
    @classmethod
    def _is_a_plugin(cls, candidate: object) -> object:
        if isinstance(candidate, str) and "@" in candidate:
            raise ValueError(
                f"{candidate} is a set: the name of the plug-in that adds it is wanted"
            )
        return candidate

    def features_of(self, kind: str) -> tuple[str, ...]:
        """The feature sets of plug-ins that models of a kind, or of a variant, read."""
        own = self.variants[kind].features if kind in self.variants else None
        return self.features if own is None else own

    @property
    def all_features(self) -> tuple[str, ...]:
        """The feature sets of plug-ins that anybody reads."""
        return tuple({name: 0 for kind in ("", *self.variants) for name in self.features_of(kind)})

    @property
    def varied(self) -> tuple[Variant, ...]:
        """The variants, as entries of the catalogue; those on the candidate set are some too."""
        named = [one.named(name) for name, one in self.variants.items()]
        if self.candidate is None:
            return tuple(named)
        return (*named, *on_candidate(self.kinds, named, self.candidate))


def on_candidate(
    kinds: Iterable[str], variants: Iterable[Variant], candidate: str
) -> Iterator[Variant]:
    """Of each kind that is fitted one that reads the candidate set: the same with other columns.

    It was chosen among one more than what it varies, which read the set before it.

    Args:
        kinds: names of models: `lightgbm.direction`.
        variants: which some of them are.
        candidate: the name of the set.
    """
    from domain.events import Target  # noqa: PLC0415 - only where there is one
    from services.models.variants import Variant  # noqa: PLC0415 - as above

    targets: dict[str, list[str]] = {}
    for name in kinds:
        kind, _, target = name.partition(".")
        targets.setdefault(kind, []).append(target)
    varied = {one.name: one for one in variants}
    for kind, wanted in targets.items():
        own = varied.get(kind)
        parameters = dict(own.parameters) if own else {}
        yield Variant.of(
            f"{kind}_{candidate}",
            own.kind if own else kind,
            (own.n_trials if own else 1) + 1,
            {target: dict(parameters.get(Target(target), ())) for target in wanted},
        )
