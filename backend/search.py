"""A search for parameters: trials before the locked holdout, all of them counted, then one look."""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any, Final, TypeVar

from backend.clock import SystemClock
from backend.executor import ProcessExecutor
from backend.feature_sets import of_release
from backend.learning.evidence import dates_of
from backend.learning.fits import (
    ExamplesOrder,
    FitOrder,
    fit_from_store,
    rows_from_store,
    try_from_store,
)
from backend.learning.plan import as_wanted
from backend.plugins import catalogue_of, feature_sets, known_models
from backend.search_words import listed, told
from backend.settings import Settings, UnknownModelError
from backend.store.searches import Beginning, Place, Searches, Trial
from backend.upkeep import store_of
from backend.wiring import Store
from domain.errors import UsageError
from domain.market import Horizon, Timeframe
from domain.ports import Clock, Executor
from services.models.recipes import Recipe
from services.models.space import Range, Searchable, propose
from services.models.walk_forward import SplitKind
from services.scores.promotion import measure

T = TypeVar("T")

END: Final = 0.975  # one-sided confidence of each end of the interval
TREES: Final = "trees"


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchPlan:
    """What an operator asks for.

    Args:
        model: `lightgbm.volatility`.
        trials: that the search is to have, with those from before it was cut short.
        seed: of a new search, its choices and its fits.
        exchange, timeframe, horizon: where models are trained at several places.
        toml: print the variant though the holdout speaks against it.
    """

    model: str
    trials: int
    seed: int
    exchange: str | None = None
    timeframe: Timeframe | None = None
    horizon: int | None = None
    toml: bool = False


async def search_parameters(plan: SearchPlan, settings: Settings) -> None:
    """Try, look at the holdout once, and say what was found.

    Raises:
        UnknownModelError: there is no such model.
        UsageError: it cannot be searched for, nothing was trained there, the rows are too few,
            or another search runs.
    """
    if find_spec("optuna") is None:
        raise UsageError("a search needs optuna: install alphapulse[search]")
    settings = _with(plan.model, settings)
    recipe, space = _subject(plan.model, settings)
    executor = ProcessExecutor()
    try:
        async with store_of(settings) as store:
            searches = Searches(store.writers)
            place = await _place(searches, plan)
            rows = await _rows(store, searches, place, settings.training.maximum_rows)
            async with searches.alone(place):
                search = _Search(
                    plan=plan,
                    place=place,
                    base=FitOrder(
                        examples=rows,
                        recipe=recipe,
                        split=SplitKind.LEAN,
                        seed=plan.seed,
                        plugins=settings.plugins,
                    ),
                    space=space,
                    searches=searches,
                    executor=executor,
                    clock=SystemClock(),
                )
                await search.run()
    finally:
        executor.close()


def _with(model: str, settings: Settings) -> Settings:
    """The settings as if they named the model, whose plug-in they would switch on."""
    about = settings.training
    there, _ = known_models(settings.state, about.varied)
    if model not in there and model.partition(".")[0] not in there:
        raise UnknownModelError(model, there)
    named = about.model_copy(update={"kinds": (*about.kinds, model)})
    return settings.model_copy(update={"training": named})


def _subject(model: str, settings: Settings) -> tuple[Recipe, Mapping[str, Range]]:
    """The recipe as a training would fit it, and what of it may be chosen."""
    about, catalogue = settings.training, catalogue_of(settings.plugins)
    if model not in catalogue.recipes:
        raise UnknownModelError(model, catalogue.recipes)
    recipe = catalogue.recipes[model]
    kind = catalogue.kinds[recipe.kind]
    if not isinstance(kind, Searchable):
        raise UsageError(f"{model} cannot be searched for: {kind.name} does not say where")
    fixed = {TREES} if about.trees is not None else set()
    space = {name: one for name, one in kind.space.items() if name not in fixed}
    sets = feature_sets(catalogue, about.features_of(recipe.kind))
    return as_wanted(replace(recipe, features=sets), about, of=recipe.kind), space


async def _place(searches: Searches, plan: SearchPlan) -> Place:
    """The one that is meant, of those where models have been trained."""
    found = await searches.places(plan.exchange, plan.timeframe, plan.horizon)
    places = [
        Place(exchange=exchange, timeframe=timeframe, horizon=horizon, model=plan.model)
        for exchange, timeframe, horizon in found
    ]
    if not places:
        raise UsageError("no model has been trained there yet; a search reads what trainings read")
    if len(places) > 1:
        named = ", ".join(map(str, places))
        raise UsageError(f"{named}: choose by --exchange, --timeframe and --horizon")
    return places[0]


async def _rows(store: Store, searches: Searches, place: Place, maximum_rows: int) -> ExamplesOrder:
    """What a training would read now."""
    versions = await store.registry.versions(place.exchange, place.timeframe)
    fitted = [row["feature_set"] for row in versions if row["horizon"] == place.horizon]
    here = [one for name in fitted if (one := of_release(name)) is not None]
    until = await searches.newest_label(place)
    if until is None or not here:
        raise UsageError(f"{place}: nothing has been fitted there yet")
    return ExamplesOrder(
        database_url=store.url,
        exchange=place.exchange,
        timeframe=place.timeframe,
        horizon=place.horizon,
        feature_set=here[-1],
        until=until,
        maximum_rows=maximum_rows,
    )


@dataclass(slots=True, kw_only=True)
class _Search:
    """One search at one place.

    Args:
        base: the fit of the kind's own parameters, on the rows that are there now.
    """

    plan: SearchPlan
    place: Place
    base: FitOrder
    space: Mapping[str, Range]
    searches: Searches
    executor: Executor
    clock: Clock

    async def run(self) -> None:
        last = await self.searches.newest(self.place)
        record = await self._taken_up(last) or await self._begun(last)
        if "holdout" in (record["found"] or {}):
            _say("this search has ended: its holdout has been read, and is not read again")
            self._tell(record["found"])
            return
        trials = await self.searches.trials(record["id"])
        self.base = replace(self.base, seed=record["seed"])
        if trials:
            _say(f"the search goes on after {len(trials)} trials")
        while len(trials) < self.plan.trials:
            trials.append(await self._try(record["id"], trials))
        found = await self._found(trials)
        await self.searches.end(record["id"], found, at=self.clock.now())
        self._tell(found)

    async def _taken_up(self, last: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        """The search that was cut short, if its recipe and its rows are as they were."""
        if last is None or last["ended_at"] is not None or not self._same(last):
            return None
        then = replace(
            self.base.examples,
            until=last["until"],
            maximum_rows=last["maximum_rows"],
            feature_set=of_release(last["feature_set"]) or self.base.examples.feature_set,
        )
        order = replace(self.base, examples=then, seed=last["seed"])
        if await self._ask(rows_from_store, order) != last["data_sha256"]:
            _say("the rows of a search that was cut short are others now: a new one begins")
            return None
        self.base = order
        return last

    async def _begun(self, last: Mapping[str, Any] | None) -> Mapping[str, Any]:
        """A new one, unless the last was of the same recipe and rows."""
        rows = await self._ask(rows_from_store, self.base)
        ended = last is not None and last["ended_at"] is not None and self._same(last)
        if last is not None and ended and last["data_sha256"] == rows:
            return last
        examples = self.base.examples
        fixed = Beginning(
            recipe=self._described(),
            seed=self.base.seed,
            feature_set=examples.feature_set.id,
            until=examples.until,
            maximum_rows=examples.maximum_rows,
            data_sha256=rows,
        )
        return await self.searches.begin(self.place, fixed, at=self.clock.now())

    def _same(self, last: Mapping[str, Any]) -> bool:
        return bool(last["recipe"] == self._described())

    def _described(self) -> dict[str, Any]:
        """What is searched for: the recipe that is varied, and from where to where."""
        ranges = {name: [one.low, one.high] for name, one in self.space.items()}
        return {**self.base.recipe.written(), "space": ranges}

    async def _try(self, search: int, trials: list[Trial]) -> Trial:
        """The kind's own parameters first, then what the trials so far make likely."""
        own = self.base.recipe.parameters
        number = len(trials)
        seen = [(one.parameters, one.loss) for one in trials if one.loss is not None]
        seed = self.base.seed * 1_000_003 + number
        chosen = (
            propose(self.space, seen, seed) if trials else {name: own[name] for name in self.space}
        )
        folds: tuple[float, ...] = ()
        try:
            folds = await self._ask(try_from_store, self._order(chosen))
        except ValueError as error:
            if not trials:
                raise UsageError(f"{self.place}: {error}") from error
        loss = sum(folds) / len(folds) if folds and all(map(math.isfinite, folds)) else None
        if loss is None and not trials:
            raise UsageError(f"{self.place}: too few rows to judge anything before the holdout")
        trial = Trial(parameters=chosen, loss=loss)
        await self.searches.enter(search, number, trial, at=self.clock.now())
        told = "no loss" if loss is None else f"loss {loss:.6g}"
        _say(f"trial {number + 1} of {self.plan.trials}: {told}, {listed(chosen)}")
        return trial

    async def _found(self, trials: list[Trial]) -> dict[str, Any]:
        """The best before the holdout, and what the holdout says of it beside the kind's own."""
        own = trials[0]
        best = min((one for one in trials if one.loss is not None), key=lambda one: one.loss or 0.0)
        found = {
            "model": self.place.model,
            "trials": len(trials),
            "n_trials": await self.searches.count(self.place),
            "own_loss": own.loss,
            "loss": best.loss,
            "differing": {
                name: value
                for name, value in best.parameters.items()
                if value != own.parameters[name]
            },
        }
        if best is own or not found["differing"]:
            return found
        return {**found, "holdout": await self._holdout(best)}

    async def _holdout(self, best: Trial) -> dict[str, Any]:
        """The only look at it."""
        own, theirs = [
            (await self._ask(fit_from_store, replace(order, split=SplitKind.LEAN))).judged
            for order in (self._order({}), self._order(best.parameters))
        ]
        dates = dates_of(own.as_of_ms, [own.losses, theirs.losses])
        horizon = Horizon(self.place.timeframe, self.place.horizon)
        (gain,) = measure(dates, horizon, [self.place.model])
        low, high = gain.test.bounds(END)
        numbers = {
            "own_loss": gain.reference_loss,
            "loss": gain.reference_loss - gain.test.mean,
            "gain": gain.test.mean,
            "low95": low,
            "high95": high,
            "p_better": gain.test.p_above(),
            "blocks": gain.blocks,
        }
        return {name: one if math.isfinite(one) else None for name, one in numbers.items()}

    def _order(self, parameters: Mapping[str, Any]) -> FitOrder:
        return replace(self.base, recipe=self.base.recipe.changed(**parameters))

    async def _ask(self, work: Callable[[FitOrder], T], order: FitOrder) -> T:
        return await asyncio.wrap_future(self.executor.submit(work, order))

    def _tell(self, found: Mapping[str, Any]) -> None:
        for line in told(self.place, found, toml=self.plan.toml):
            _say(line)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
