"""What an operator asks of fitted models: which there are, where one came from, the same again."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from typing import Any, Final

import orjson

from backend.commands import OrderRefusedError, ordering
from backend.executor import ProcessExecutor
from backend.feature_sets import candle_sets, feature_set_named
from backend.learning.fits import ExamplesOrder, FitOrder, fit_from_store
from backend.mirror import MirrorOrder, mirror
from backend.plugins import catalogue_of
from backend.setting_values import mirror_address
from backend.settings import Settings, UnknownModelError
from backend.store.comparison import Forecaster
from backend.store.feature_retention import kept_since
from backend.store.registry import Seat, role_of
from backend.store.tables import LABEL_SET
from backend.upkeep import store_of
from backend.wiring import Store
from domain.errors import UsageError
from domain.market import Timeframe, rfc3339
from services.models.fitting import FitResult
from services.models.recipes import Recipe
from services.models.walk_forward import SplitKind

ANSWERED_WITHIN_S: Final = 10.0  # a process that is there takes it within one


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A version as an operator names it; the rest where several panels have one of that name.

    Args:
        name: `lightgbm.direction`.
        version: None: the newest.
    """

    name: str
    version: int | None = None
    exchange: str | None = None
    timeframe: Timeframe | None = None
    horizon: int | None = None

    @classmethod
    def parse(
        cls, text: str, exchange: str | None, timeframe: str | None, horizon: int | None
    ) -> Wanted:
        """From `NAME` or `NAME@VERSION`, and the flags of a place.

        Raises:
            UsageError: the version is none.
            UnknownTimeframeError: the timeframe is none.
        """
        try:
            named = Forecaster.parse(text)
        except ValueError:
            raise UsageError(
                f"{text}: name a model as NAME@VERSION, like lightgbm.direction@3"
            ) from None
        return cls(
            name=named.model,
            version=named.version,
            exchange=exchange,
            timeframe=Timeframe.parse(timeframe) if timeframe else None,
            horizon=horizon,
        )


async def list_models(settings: Settings) -> None:
    """One line for each registered version."""
    async with store_of(settings) as store:
        rows = await store.registry.versions()
    for row in rows:
        role = role_of(row["aliases"]) or "-"
        until = rfc3339(row["trained_until"])
        sys.stdout.write(
            f"{_place(row)} {row['name']}@{row['version']} {role} "
            f"rows={row['n_train']} trained_until={until}\n"
        )
    if not rows:
        sys.stdout.write("no model has been fitted yet; the baselines and River serve\n")


async def show_model(wanted: Wanted, settings: Settings) -> None:
    """Everything that the registry has of a version, and the decisions about it, as JSON."""
    async with store_of(settings) as store:
        row = await _found(store, wanted)
        decisions = await store.registry.decisions(_seat(row))
    about = [
        {name: one[name] for name in ("decided_at", "verdict", "trigger", "evidence")}
        for one in decisions
        if row["version"] in (one["champion_version"], one["challenger_version"])
    ]
    shown = {**row, "role": role_of(row.pop("aliases")), "decisions": about}
    sys.stdout.write(orjson.dumps(shown, option=orjson.OPT_INDENT_2).decode() + "\n")


async def reproduce_model(wanted: Wanted, settings: Settings) -> int:
    """Fit a version again from its row in the registry; 1 when another model comes out.

    Raises:
        UnknownModelError: there is no such version.
        UsageError: it was registered by a build that did not write down all that a fit needs,
            settings have its kind no more, or feature rows that it was fitted on were dropped.
    """
    async with store_of(settings) as store:
        row = await _found(store, wanted)
        since = await kept_since(store.readers, row["exchange"], row["timeframe"])
        if since is not None and row["trained_from"] < since:
            words = f"feature rows before {rfc3339(since)} were dropped"
            raise UsageError(f"{row['name']}@{row['version']} cannot be fitted again: {words}")
        order = _order(row, store.url, settings)
        if order.recipe.kind not in catalogue_of(order.plugins).kinds:
            words = "a plug-in or a variant that settings do not have now"
            raise UsageError(f"{row['name']} is of {words}")
        result = await _fitted_again(order)
    name = f"{row['name']}@{row['version']}"
    reasons = "; ".join(_differences(row, result))
    if result.sha256 == row["artifact_sha256"]:
        but = f"; what differs: {reasons}" if reasons else ""
        sys.stdout.write(
            f"{_place(row)} {name} fitted again on {result.n_train} rows in "
            f"{result.train_seconds:.1f} s: the same artifact, {result.sha256[:12]}{but}\n"
        )
        return 0
    reasons = reasons or "nothing that was written down"
    sys.stdout.write(f"{_place(row)} {name} comes out otherwise. What differs: {reasons}\n")
    return 1


async def _fitted_again(order: FitOrder) -> FitResult:
    """In a process like that of the first fit: the order of sums depends on the threads."""
    executor = ProcessExecutor()
    try:
        return await asyncio.wrap_future(executor.submit(fit_from_store, order))
    finally:
        executor.close()


async def mirror_models(uri: str, settings: Settings) -> None:
    """Copy every version that is not at an MLflow server yet.

    Raises:
        UsageError: that is no address.
        MirrorError: the library is absent, or the server does not do what it should.
    """
    try:
        mirror_address(uri)
    except ValueError as error:
        raise UsageError(f"--to: {error}") from error
    artifacts = settings.state / "artifacts"
    async with store_of(settings) as store:
        order = MirrorOrder(database_url=store.url, artifacts=artifacts, uri=uri)
        count = await asyncio.to_thread(mirror, order)
    sys.stdout.write(f"{count} versions were copied; aliases stand as they do here\n")


async def roll_back_model(wanted: Wanted, settings: Settings) -> None:
    """Have the running system take a model's version from its place.

    Raises:
        StateFolderError: no system runs.
        UsageError: no version of it has a place, or versions have several; or one was named.
        OrderRefusedError: the process that runs the panel cannot, or is away.
    """
    if wanted.version is not None:
        raise UsageError(f"name the model alone, {wanted.name}: its newest version leaves")
    place = {
        "model": wanted.name,
        "exchange": wanted.exchange,
        "timeframe": wanted.timeframe and wanted.timeframe.value,
        "horizon": wanted.horizon,
    }
    order = {name: value for name, value in place.items() if value is not None}
    async with ordering(settings) as desk:
        asked = await desk.order("rollback", order)
        (part,) = await desk.parts(asked, within_s=ANSWERED_WITHIN_S)
    if part.result is None:
        raise OrderRefusedError(
            f"{part.owner} has not done it yet, and does it when it comes: `alphapulse jobs show"
            f" {asked.row['id']}` tells"
        )
    (row,) = part.result
    after = "nobody has its place now"
    if row["previous"] is not None:
        after = f"version {row['previous']} speaks from the next close on"
    sys.stdout.write(f"{_place(row)} {row['model']}@{row['version']} rolled back; {after}\n")


def _differences(row: dict[str, Any], result: FitResult) -> list[str]:
    """What of the lineage is not as it was."""
    found = []
    if result.data_sha256 != row["data_sha256"]:
        found.append(f"the rows ({result.n_train}, then {row['n_train']})")
    if result.recipe_sha256 != row["code_sha"]:
        found.append("the recipe")
    for library, version in row["environment"].items():
        now = result.libraries.get(library)
        if now != version:
            found.append(f"{library} {now or 'absent'}, then {version}")
    return found


def _order(row: dict[str, Any], url: str, settings: Settings) -> FitOrder:
    params = dict(row["params"])
    if row["label_set"] != LABEL_SET:
        raise UsageError(f"{row['name']} is a model of class labels, which only a training fits")
    try:
        split, maximum_rows = SplitKind(params.pop("split")), int(params.pop("maximum_rows"))
        sets = candle_sets(settings.training.candidate, settings.plugins)
        candles, feature_set = feature_set_named(row["feature_set"], sets)
    except KeyError as error:
        raise UsageError(f"{row['name']}@{row['version']} does not say its {error}") from error
    return FitOrder(
        examples=ExamplesOrder(
            database_url=url,
            exchange=row["exchange"],
            timeframe=Timeframe(row["timeframe"]),
            horizon=row["horizon"],
            feature_set=feature_set,
            until=row["created_at"],
            maximum_rows=maximum_rows,
            candles=candles.id,
        ),
        recipe=Recipe.read(params),
        split=split,
        seed=row["seed"],
        plugins=settings.plugins,
    )


async def _found(store: Store, wanted: Wanted) -> dict[str, Any]:
    """The one version that is meant.

    Raises:
        UnknownModelError: there is none.
        UsageError: several panels have one.
    """
    rows = await store.registry.versions(wanted.exchange, wanted.timeframe)
    named = [row for row in rows if row["name"] == wanted.name]
    if not named:
        raise UnknownModelError(wanted.name, {row["name"] for row in rows})
    here = [row for row in named if wanted.horizon in (None, row["horizon"])]
    newest = {_place(row): row for row in here}  # the last of each place
    if len(newest) > 1:
        places = ", ".join(newest)
        raise UsageError(
            f"{wanted.name} is at {places}: choose by --exchange, --timeframe and --horizon"
        )
    versions = [row for row in here if wanted.version in (None, row["version"])]
    if not versions:
        known = f"versions 1 to {here[-1]['version']}" if here else "no version there"
        raise UsageError(f"{wanted.name} has {known}")
    return versions[-1]


def _seat(row: dict[str, Any]) -> Seat:
    return Seat(
        exchange=row["exchange"],
        timeframe=Timeframe(row["timeframe"]),
        horizon=row["horizon"],
        target=row["target"],
        name=row["name"],
    )


def _place(row: dict[str, Any]) -> str:
    return f"{row['exchange']} {row['timeframe']}x{row['horizon']}"
