"""What is fitted, how often and from how much, and what a tick makes due of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from backend.panel import training_interval
from backend.plugins import NO_PLUGINS, SwitchedOn, catalogue_of, feature_sets
from backend.settings import UnknownModelError
from backend.training_settings import TrainingSettings
from domain.events import Target
from domain.market import Timeframe
from services.features.kinds import RELEASE, CandleSet
from services.models.catalogue import Catalogue
from services.models.recipes import Recipe
from services.models.trainer import TrainingRequest
from services.predictions.soundness import Broken

SCHEDULED_AT: Final = timedelta(hours=1)  # UTC: the day's close has been confirmed


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningPlan:
    """What is fitted, how often, and from how much."""

    recipes: tuple[Recipe, ...]
    every: timedelta
    at: timedelta | None  # time of day of fits that are whole days apart
    delay: timedelta | None
    minimum_rows: int
    maximum_rows: int
    by_evidence: bool  # whether a fit takes a seat by evidence; else each does, and none leaves
    triggers: frozenset[str]  # kinds of drift that make a training due; the others report
    examine_every: timedelta
    seed: int
    plugins: SwitchedOn

    @classmethod
    def of(  # noqa: PLR0913 - what settings and a panel choose
        cls,
        settings: TrainingSettings,
        timeframe: Timeframe,
        *,
        seed: int,
        plugins: SwitchedOn = NO_PLUGINS,
        sets: Sequence[CandleSet] = (RELEASE,),
        every: timedelta | None = None,
        live: bool = False,
    ) -> LearningPlan:
        """The plan that the settings ask for.

        Args:
            settings: of the training.
            timeframe: of the panel.
            seed: of every fit.
            plugins: which add kinds to those of the release.
            sets: what candles are made into; each kind is fitted on each of them.
            every: between fits, whatever the settings say.
            live: where they say nothing, a fit a day, at 01:00 UTC, and a look for drift; else
                one in 30 days, and in 7.

        Raises:
            UnknownModelError: a plug-in is there, and has no such model.
            PluginError: one is there, and is no feature set.
        """
        catalogue = catalogue_of(plugins)
        for name in settings.kinds:
            if name not in catalogue.recipes:
                raise UnknownModelError(name, catalogue.recipes)
        return cls(
            recipes=tuple(_chosen(catalogue, settings, sets)),
            every=every or training_interval(timeframe, settings.every_bars, live=live),
            at=SCHEDULED_AT if live else None,
            delay=timeframe.duration * settings.delay_bars,
            minimum_rows=settings.minimum_rows,
            maximum_rows=settings.maximum_rows,
            by_evidence=settings.promotion == "evidence",
            triggers=frozenset(settings.triggers),
            examine_every=timedelta(days=settings.examine_days or (1 if live else 7)),
            seed=seed,
            plugins=plugins,
        )


def _chosen(
    catalogue: Catalogue, settings: TrainingSettings, sets: Iterable[CandleSet]
) -> Iterator[Recipe]:
    """The recipes of the kinds that settings name, on each set, in the order of their fits.

    On a set beside the release's a kind is a variant, with a name and a seat of its own.
    """
    asked = [name.partition(".") for name in settings.kinds]
    wanted = {f"{of.models(kind)}.{target}": (kind, of) for of in sets for kind, _, target in asked}
    for name, recipe in catalogue.recipes.items():
        if name in wanted:
            kind, of = wanted[name]
            features = feature_sets(catalogue, settings.features_of(kind))
            chosen = replace(recipe, features=features, candles=of.recipes)
            yield as_wanted(chosen, settings, of=kind)


def as_wanted(recipe: Recipe, settings: TrainingSettings, *, of: str) -> Recipe:
    """With the size and the device that the settings name, where the recipe has them.

    What the variant `of` names itself stays.
    """
    wanted = {"device": settings.device, "trees": settings.trees}
    own = settings.variants[of].of(recipe.target) if of in settings.variants else {}
    return recipe.changed(
        **{name: one for name, one in wanted.items() if one is not None and name not in own}
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """A training that is due at one horizon."""

    horizon: int
    request: TrainingRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A look at a challenge that is due."""

    horizon: int
    target: Target
    as_of: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal:
    """A model that gave no forecast at a close and is to lose its place in the registry too."""

    horizon: int
    broken: Broken
    as_of: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """Those who have seats at one horizon are laid beside their baselines."""

    horizon: int
    as_of: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """A look at the record of one horizon, for drift."""

    horizon: int
    as_of: datetime
    since: datetime  # when it was last looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """What a tick makes due; false where there is nothing."""

    withdrawals: tuple[Withdrawal, ...] = ()
    trainings: tuple[Training, ...] = ()
    looks: tuple[Look, ...] = ()
    reviews: tuple[Review, ...] = ()
    examinations: tuple[Examination, ...] = ()

    @property
    def takes_time(self) -> bool:
        """Whether there is more to do than to take note of who broke."""
        return bool(self.trainings or self.looks or self.reviews or self.examinations)

    def __bool__(self) -> bool:
        return bool(self.withdrawals) or self.takes_time
