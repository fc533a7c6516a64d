"""A search for parameters: each trial is counted once, and the holdout is kept for the end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import tomllib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from pydantic import SecretStr

from backend.models import Wanted, reproduce_model
from backend.plugins import catalogue_of
from backend.replay import Replay, ReplayPlan
from backend.search import SearchPlan, search_parameters
from backend.settings import Settings
from backend.store import database
from backend.store.searches import Place, Searches
from backend.wiring import open_store
from domain.errors import UsageError
from tests.processes import alphapulse, command, environment, one_line, until
from tests.scenarios.market import H1, HORIZON, planted

pytestmark = pytest.mark.long

MODEL = "logistic.direction"
BARS = 500
TRIALS = 6
SEED = 10  # of choices of which one is better before the holdout
SHOWN = "SELECT count(*) FROM search_trials"


def settings_of(state: Path, url: str, **training: Any) -> Settings:
    training = {"kinds": (MODEL,), "online": (), "minimum_rows": 300, "every_bars": 400, **training}
    return Settings(state=state, database_url=SecretStr(url), training=training)


async def lived(settings: Settings, url: str) -> None:
    """A replay of `BARS` candles, in which the settings' models are fitted once."""
    plan = ReplayPlan(
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
    series = planted(BARS, symbols=("BTC/USDT", "ETH/USDT"))
    artifacts = settings.state / "artifacts"
    async with open_store(url, artifacts, catalogue_of(settings.plugins), durable=False) as store:
        await Replay(plan, settings, store, H1).run(series)


async def fetch(url: str, query: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(query))
    finally:
        await connection.close()


def rows(url: str, query: str) -> list[asyncpg.Record]:
    return asyncio.run(fetch(url, query))


@pytest.fixture(scope="module")
def market(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of a database to copy, in which the model was fitted."""
    name = "test_search_market"
    url = asyncio.run(database.create_database(server_url, name))
    asyncio.run(lived(settings_of(tmp_path_factory.mktemp("lived"), url), url))
    yield name
    asyncio.run(database.drop_database(server_url, name))


@pytest.fixture
def url(server_url: str, market: str) -> Iterator[str]:
    """A copy of it."""
    name = "test_search"
    yield asyncio.run(database.create_database(server_url, name, template=market))
    asyncio.run(database.drop_database(server_url, name))


def search(state: Path, url: str, *flags: str) -> subprocess.CompletedProcess[str]:
    return alphapulse(state, "models", "search", MODEL, *flags, **variables(url))


def variables(url: str) -> dict[str, str]:
    return {"ALPHAPULSE_DATABASE_URL": url}


def tried(url: str) -> list[tuple[Any, ...]]:
    return [
        tuple(row)
        for row in rows(url, "SELECT number, parameters, loss FROM search_trials ORDER BY number")
    ]


def tried_more_than(url: str, count: int) -> bool:
    return len(tried(url)) > count


def test_a_search_that_is_killed_goes_on_as_if_it_had_not_been(
    server_url: str, market: str, url: str, tmp_path: Path
) -> None:
    for killed in range(2):
        with subprocess.Popen(  # noqa: S603 - our own program
            command("models", "search", MODEL, "--trials", str(TRIALS)),
            cwd=tmp_path,
            env=environment(**variables(url)),
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        ) as process:
            until(partial(tried_more_than, url, killed), "a trial more")
            os.killpg(process.pid, signal.SIGKILL)
    cut_short = len(tried(url))

    done = search(tmp_path, url, "--trials", str(TRIALS))

    assert done.returncode == 0, done.stderr
    assert f"goes on after {cut_short} trials" in done.stdout
    assert f"{TRIALS} trials, {TRIALS} in all searches here" in done.stdout
    whole = asyncio.run(database.create_database(server_url, "test_search_whole", template=market))
    try:
        search(tmp_path, whole, "--trials", str(TRIALS))
        assert tried(whole) == tried(url)
        assert rows(whole, "SELECT found FROM searches") == rows(url, "SELECT found FROM searches")
    finally:
        asyncio.run(database.drop_database(server_url, "test_search_whole"))


def test_a_search_that_found_nothing_goes_on_where_more_are_asked_for(
    url: str, tmp_path: Path
) -> None:
    """Nothing has been read of the holdout, so nothing forbids it."""
    first = search(tmp_path, url, "--trials", "2", "--seed", "7")
    again = search(tmp_path, url, "--trials", "3", "--seed", "7")

    assert "the holdout was not read" in first.stdout
    assert "the search goes on after 2 trials\ntrial 3 of 3" in again.stdout


def test_the_holdout_is_read_once(url: str, tmp_path: Path) -> None:
    first = search(tmp_path, url, "--trials", str(TRIALS), "--seed", str(SEED))
    again = search(tmp_path, url, "--trials", "50", "--seed", str(SEED))

    assert first.stdout.count("on the holdout, read once") == 1
    assert "its holdout has been read, and is not read again" in again.stdout
    assert again.stdout.partition("\n")[2] in first.stdout
    assert rows(url, SHOWN)[0][0] == TRIALS


def test_what_is_found_is_a_variant_whose_trials_are_recorded(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pasted into the settings it is fitted, registered with its trials, and fitted again."""
    plan = SearchPlan(model=MODEL, trials=TRIALS, seed=SEED, toml=True)
    asyncio.run(search_parameters(plan, settings_of(tmp_path, url)))
    pasted = tomllib.loads("[" + capsys.readouterr().out.partition("\n[")[2])["training"]
    (name,) = pasted["variants"]
    after = settings_of(
        tmp_path, url, kinds=(MODEL, f"{name}.direction"), variants=pasted["variants"]
    )
    other = asyncio.run(database.create_database(url, "test_search_after"))
    try:
        after = after.model_copy(update={"database_url": SecretStr(other)})
        asyncio.run(lived(after, other))
        again = asyncio.run(
            reproduce_model(Wanted.parse(f"{name}.direction", None, None, None), after)
        )
        registered = rows(other, "SELECT name, n_trials FROM ml_models_metadata ORDER BY name")
        (told,) = {
            row["words"]
            for row in rows(other, "SELECT evidence->>'words' AS words FROM promotion_decisions")
            if "beat the baseline" in row["words"] or "none of" in row["words"]
        }
    finally:
        asyncio.run(database.drop_database(url, "test_search_after"))

    assert pasted["variants"][name]["trials"] == TRIALS
    assert {tuple(row) for row in registered} == {(MODEL, 1), (f"{name}.direction", TRIALS)}
    assert again == 0
    assert f"{name}.direction counts {TRIALS} times" in told


def test_trials_of_earlier_searches_are_counted_too(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = settings_of(tmp_path, url)
    asyncio.run(search_parameters(SearchPlan(model=MODEL, trials=2, seed=7), settings))
    fewer = settings.model_copy(
        update={"training": settings.training.model_copy(update={"maximum_rows": 500})}
    )
    asyncio.run(search_parameters(SearchPlan(model=MODEL, trials=2, seed=7), fewer))

    assert "2 trials, 4 in all searches here" in capsys.readouterr().out


def test_what_cannot_be_searched_for_is_said_in_one_line(url: str, tmp_path: Path) -> None:
    def refused(*arguments: str) -> str:
        return one_line(
            alphapulse(tmp_path, "models", "search", *arguments, **variables(url)), code=2
        )

    assert "nearest: logistic.direction" in refused("logistik.direction")
    assert "does not say where" in refused("ridge.volatility")
    assert "no model has been trained there yet" in refused(MODEL, "--horizon", "17")


async def test_two_searches_at_one_place_take_turns(url: str, tmp_path: Path) -> None:
    place = Place(exchange="x", timeframe=H1, horizon=4, model=MODEL)
    pool = await database.connect_pool(url)
    try:
        async with Searches(pool).alone(place):
            with pytest.raises(UsageError, match="another search"):
                async with Searches(pool).alone(place):
                    pass
        async with Searches(pool).alone(place):
            pass
    finally:
        await pool.close()
