"""A candidate beside the candle feature set: its models win seats, and then it takes its place."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import SecretStr

from backend.api.explanations import PredictionId, explain, read_spoken
from backend.executor import ProcessExecutor
from backend.feature_sets import candle_sets as there
from backend.features import audit_features, retire_set
from backend.learning.learning import Learning
from backend.learning.plan import LearningPlan
from backend.models import Wanted, reproduce_model
from backend.panel import Panel, PanelKey
from backend.plugins import catalogue_of
from backend.replay import Replay, ReplayPlan
from backend.settings import Settings
from backend.store import candle_sets, database
from backend.store.registry import Registry
from backend.store.system_status import StatusStore
from backend.wiring import Store, open_store, policy_of, sets_of
from domain.errors import UsageError
from services.features.kinds import CandleSet
from tests.doubles import START, ManualClock
from tests.scenarios.market import H1, HORIZON, planted

TESTS = Path(__file__).parents[1]
MODEL, ON_SECOND = "logistic.direction", "logistic_second.direction"
PLAN = ReplayPlan(
    data=Path(),
    exchange=None,
    symbols=None,
    timeframe=H1.value,
    horizon=HORIZON,
    since=None,
    until=None,
    seed=11,
    report=Path(),
    out=None,
)


@dataclass(frozen=True)
class Replayed:
    """Where a replay with a second set has left its rows."""

    settings: Settings
    alone: Settings  # of one without
    unnamed: Settings  # of an operator's shell: the same store, and no set
    rows: dict[str, dict[str, Any]]  # of the models' newest versions, as registered

    def fetch(self, query: str, *arguments: Any, alone: bool = False) -> list[tuple[Any, ...]]:
        settings = self.alone if alone else self.settings

        async def ask() -> list[tuple[Any, ...]]:
            assert settings.database_url is not None
            pool = await database.connect_pool(settings.database_url.get_secret_value(), size=1)
            try:
                return [tuple(row) for row in await pool.fetch(query, *arguments)]
            finally:
                await pool.close()

        return asyncio.run(ask())


@pytest.fixture(scope="module")
def replayed(
    server_url: str, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Replayed]:
    """The set of the tests as a file of the state folder."""
    state = tmp_path_factory.mktemp("state")
    (state / "plugins").mkdir()
    (state / "plugins/second.py").write_text((TESTS / "second_set.py").read_text())
    names = ("test_second", "test_second_alone")
    urls = [
        asyncio.run(database.create_database(server_url, name, template=template)) for name in names
    ]
    training = {"kinds": [MODEL], "minimum_rows": 300, "every_bars": 100}
    settings, alone = (
        Settings(state=state, database_url=SecretStr(url), training={**training, **more})
        for url, more in zip(urls, ({"candidate": "second"}, {}), strict=True)
    )
    rows = asyncio.run(_replayed(settings))
    asyncio.run(_replayed(alone))
    unnamed = Settings(state=state, database_url=settings.database_url)
    yield Replayed(settings, alone, unnamed, rows)
    for name in names:
        asyncio.run(database.drop_database(server_url, name))


async def _replayed(settings: Settings) -> dict[str, dict[str, Any]]:
    series = planted(550, symbols=("BTC/USDT", "ETH/USDT"))
    assert settings.database_url is not None
    url, artifacts = settings.database_url.get_secret_value(), settings.state / "artifacts"
    async with open_store(url, artifacts, catalogue_of(settings.plugins), durable=False) as store:
        await Replay(PLAN, settings, store, H1).run(series)
        return {row["name"]: row for row in await Registry(store.writers).versions()}


def test_each_kind_is_fitted_on_both_with_a_seat_each(replayed: Replayed) -> None:
    first, second = replayed.rows[MODEL], replayed.rows[ON_SECOND]

    assert (first["feature_set"], second["feature_set"]) == ("ohlcv@1", "ohlcv@2")
    assert "candles" not in first["params"]
    assert (second["params"]["candles"], second["n_trials"]) == ("ohlcv@2", 2)
    assert "plugins/second.py" in second["environment"]
    assert first["aliases"]
    assert second["aliases"]


def test_rows_say_which_set_they_were_made_of(replayed: Replayed) -> None:
    said = replayed.fetch(
        "SELECT DISTINCT model, feature_set FROM ml_predictions WHERE model IN ($1, $2, 'served')",
        MODEL,
        ON_SECOND,
    )
    counts = replayed.fetch("SELECT feature_set, count(*) FROM ml_features_ohlcv GROUP BY 1")

    assert {*said} == {(MODEL, "ohlcv@1"), (ON_SECOND, "ohlcv@2"), ("served", "ohlcv@1")}
    assert {*counts} == {("ohlcv@1", 1100), ("ohlcv@2", 1100)}


def test_what_stands_on_the_first_is_as_it_would_be_alone(replayed: Replayed) -> None:
    features = "SELECT t::text FROM ml_features_ohlcv t WHERE feature_set = $1"
    river, *rest = ("river.direction", MODEL, "har.volatility", "prior.direction")
    said = (
        "SELECT as_of, instrument_id, model, p_down, p_up, volatility FROM ml_predictions"
        " WHERE model = ANY($1::text[]) AND role <> 'champion'"
    )

    for query, argument in ((features, "ohlcv@1"), (said, [river, *rest])):
        both, alone = (replayed.fetch(query, argument, alone=one) for one in (False, True))
        assert both
        assert {*map(str, both)} == {*map(str, alone)}


def test_a_fit_on_the_second_comes_out_again(
    replayed: Replayed, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = Wanted.parse(ON_SECOND, None, None, None)

    assert asyncio.run(reproduce_model(wanted, replayed.settings)) == 0
    assert "the same artifact" in capsys.readouterr().out


def test_rows_of_both_follow_from_the_candles(
    replayed: Replayed, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asyncio.run(audit_features(replayed.settings, count=100, seed=7, since=None)) == 0
    assert capsys.readouterr().out == (
        "200 rows of 1h, ohlcv@1 and ohlcv@2, derived again (0 have a later revision):"
        " no differences\n"
    )


async def test_why_is_told_of_the_row_of_its_set(replayed: Replayed) -> None:
    async with opened(replayed.settings) as store:
        row = await store.readers.fetchrow(
            "SELECT symbol, p.* FROM ml_predictions p JOIN instruments USING (instrument_id)"
            " WHERE model = $1 ORDER BY as_of DESC, symbol LIMIT 1",
            ON_SECOND,
        )
        wanted = PredictionId(
            timeframe="1h",
            horizon=HORIZON,
            exchange="simulated",
            as_of=row["as_of"],
            revision=1,
            symbol=row["symbol"],
        )
        versions = {ON_SECOND: row["version"]}
        await store.writers.execute(
            "UPDATE ml_predictions SET members = $1 WHERE role = 'champion' AND as_of = $2",
            orjson.dumps(versions).decode(),
            row["as_of"],
        )
        async with store.readers.acquire() as connection:
            spoken = await read_spoken(connection, wanted)

        (member,) = spoken.members
        model = store.artifacts.load(
            name=ON_SECOND, version=member.version, sha256=str(member.sha256)
        )
        assert spoken.tables.keys() == {"ohlcv@1", "ohlcv@2"}
        said = [row["p_down"], row["p_flat"], row["p_up"]]
        assert model.forecast(spoken.tables[member.candles])[0] == pytest.approx(said, rel=1e-12)
        (told,) = explain(spoken, store.artifacts)
        features = {one["feature"] for output in told["outputs"] for one in output["contributions"]}
        assert "drawdown_12" in features


async def test_the_first_ends_by_order_with_who_reads_it(
    replayed: Replayed, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, unnamed = replayed.settings, replayed.unnamed
    with pytest.raises(UsageError, match="is not the set of the release, ohlcv@1"):
        await retire_set(settings, "ohlcv@2", with_seats=True)
    with pytest.raises(UsageError, match="no set is beside ohlcv@1"):
        await retire_set(replayed.alone, "ohlcv@1", with_seats=True)
    async with opened(settings) as store:
        await seat(store, MODEL)
        words = r"^logistic.direction@\d+ \(simulated 1hx\d+\) read ohlcv@1: --with-seats takes"
        with pytest.raises(UsageError, match=words):
            await retire_set(unnamed, "ohlcv@1", with_seats=False)
        assert await sets_of(store.writers, settings, START) == both(settings)
        told = StatusStore(store.writers)
        await told.tell({"feature_sets": ["ohlcv@1"]}, START)
        with pytest.raises(UsageError, match="no set is beside ohlcv@1: a start makes the one"):
            await retire_set(settings, "ohlcv@1", with_seats=True)
        await told.tell({"feature_sets": ["ohlcv@1", "ohlcv@2"]}, START)

        await retire_set(unnamed, "ohlcv@1", with_seats=True)

        assert capsys.readouterr().out == (
            "ohlcv@1 is retired: from the next start on all learn from ohlcv@2;"
            " 1 seats go with it\n"
        )
        _, second = both(settings)
        assert await sets_of(store.writers, settings, START) == (second,)
        with pytest.raises(UsageError, match=r"^ohlcv@1 was retired on \d{4}-\d\d-\d\d already$"):
            await retire_set(unnamed, "ohlcv@1", with_seats=True)
        with pytest.raises(UsageError, match=r"^ohlcv@2 cannot be retired: ohlcv@1 was on"):
            await retire_set(unnamed, "ohlcv@2", with_seats=True)
        words = "name the set that took its place, ohlcv@2: training.candidate = "
        for state, plugin in (
            (settings.state, "second"),
            (Path("elsewhere"), "its plug-in, which was of plugins/second.py"),
        ):
            with pytest.raises(UsageError, match=f"{words}{plugin}$"):
                await sets_of(store.writers, Settings(state=state), START)


async def test_whose_set_is_not_made_any_more_has_no_place(
    replayed: Replayed, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(replayed.settings) as store:
        newest = replayed.rows[MODEL]["version"]
        await store.writers.execute(
            "INSERT INTO model_aliases (exchange, timeframe, horizon, target, name, version, alias,"
            " set_at) SELECT exchange, timeframe, horizon, target, name, $2, 'challenger', set_at"
            " FROM model_aliases WHERE name = $1 AND alias = 'champion'",
            MODEL,
            newest - 1,
        )
        sets = await sets_of(store.writers, replayed.settings, START)
        clock = ManualClock(START)
        key = PanelKey(exchange="simulated", timeframe=H1)
        panel = Panel(key, [HORIZON], clock=clock, policy=policy_of(Settings()), sets=sets)
        plan = LearningPlan.of(
            replayed.settings.training,
            H1,
            seed=7,
            plugins=replayed.settings.plugins,
            sets=sets,
        )
        learning = Learning(
            panel=panel,
            store=store,
            executor=ProcessExecutor(workers=1),
            clock=clock,
            wall=clock,
            plan=plan,
            emit=lambda _: None,
        )

        await learning.restore()

        named = [seat.model.name for seat in panel.rooms[HORIZON].predictor.seats().values()]
        assert ON_SECOND in named
        assert MODEL not in named
        (line,) = learning.refused
        assert line == (
            "ohlcv@1 was retired: models that read it have lost their places, the log names each"
        )
        logged = [vars(one) for one in caplog.records if one.message == "model refused"]
        assert {one["model"] for one in logged} == {f"{MODEL}@{newest - n}" for n in (0, 1)}
        assert {one["reason"] for one in logged} == {"it reads ohlcv@1: ohlcv@1 was retired"}
        decided = await store.readers.fetch(
            "SELECT verdict, trigger FROM promotion_decisions WHERE name = $1 ORDER BY id DESC",
            MODEL,
        )
        assert tuple(decided[0]) == ("rollback", "features")
        assert [one.name for one in plan.recipes] == [ON_SECOND]


async def test_the_first_ends_by_itself_once_only_the_second_is_read(replayed: Replayed) -> None:
    async with opened(replayed.settings) as store:
        await store.writers.execute("UPDATE feature_sets SET retired_at = NULL")
        made = await sets_of(store.writers, replayed.settings, START)
        assert made == both(replayed.settings)

        await seat(store, ON_SECOND)

        assert await sets_of(store.writers, replayed.settings, START) == made[1:]
        assert await candle_sets.retired(store.readers) == {"ohlcv@1": START}


def opened(settings: Settings) -> AbstractAsyncContextManager[Store]:
    assert settings.database_url is not None
    url = settings.database_url.get_secret_value()
    return open_store(url, settings.state / "artifacts", catalogue_of(settings.plugins))


def both(settings: Settings) -> tuple[CandleSet, ...]:
    return there(settings.training.candidate, settings.plugins)


async def seat(store: Store, name: str) -> None:
    """Its newest version is a member."""
    await store.writers.execute(
        "UPDATE model_aliases SET alias = 'champion' WHERE name = $1 AND alias = 'challenger'", name
    )
