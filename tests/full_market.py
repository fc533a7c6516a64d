"""The served market with something in every list: scores, a gap, models, texts, class labels."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import numpy as np
import orjson

from backend.store import ledger, panels
from backend.store.gaps import GapLedger
from backend.store.instruments import Instruments
from backend.store.outbox import Entry, Outbox
from backend.store.sources import SourceStore
from collectors.gaps import Cause, Gap, GapState
from domain.account import Terms
from domain.classes import ClassPredictionBatch
from domain.events import Origin
from domain.market import Instrument, Listing, Timeframe, to_ms
from domain.sources import Measurement, Metric, SourceState, SourceStatus, TextItem
from services.notifications.events import noticed
from services.sentiment.lexicon import Lexicon
from services.sentiment.reader import Reader
from tests.doubles import START
from tests.factories import BTC, ETH
from tests.notices import place
from tests.served_market import HORIZON, MEMBERS, ServedMarket, outcomes, signals

HOUR: Final = timedelta(hours=1)

MODELS: Final = """
    INSERT INTO ml_models_metadata (name, timeframe, exchange, horizon, version, target, kind,
        status, params, seed, code_sha, data_sha256, feature_set, label_set, trained_from,
        trained_until, n_train, n_effective, n_trials, metrics, environment, artifact_path,
        artifact_sha256, artifact_bytes, train_seconds, created_at)
    SELECT 'lightgbm.direction', '1h', 'simulated', 4, version, 'direction', 'lightgbm',
        'eligible', '{}', 1, 'c', 'd', 'few@1', 'direction@1', '2023-12-01', '2023-12-31', 900,
        225.0, 1, '{"loss": 0.9}', '{}', 'p', 's', 10, 1.5, '2023-12-31'
    FROM generate_series(1, 2) AS version
    """
SEATED: Final = """
    INSERT INTO model_aliases
    VALUES ('simulated', '1h', 4, 'direction', 'lightgbm.direction', 'champion', 1, '2023-12-31')
    """


async def fill(market: ServedMarket) -> None:
    """See that no list of `market` is empty."""
    await watch(market)
    for batch in market.batches[:20]:
        await market.recorder.commit_learning(outcomes(batch, START), published_at=START)
    await hold(market)
    await market.pool.execute(MODELS)
    await market.pool.execute(SEATED)
    await tell(market)
    await miss(market)
    await warn(market)
    batch = market.batches[20]
    await market.recorder.commit_learning([mood(market, 20)], published_at=batch.as_of)
    async with market.pool.acquire() as connection:
        await panels.rebuild(connection, START)


async def watch(market: ServedMarket) -> None:
    """The instruments are watched since before their first candle; one's sizes are known."""
    listings = [
        Listing(instrument=one, tick_size=0.01, lot_size=1e-5)
        if one == BTC
        else Listing(instrument=one)
        for one in MEMBERS
    ]
    await Instruments(market.pool).watch(listings, since=START)


async def hold(market: ServedMarket) -> None:
    """The account has an open position."""
    batch = market.batches[20]
    entered = {"status": "active", "entry_price": 100.0}
    await market.recorder.commit_tick(
        [signals(batch, event="updated", **entered)], published_at=START
    )
    async with market.pool.acquire() as connection:
        await ledger.fold(connection, lambda _: Terms(), closes=100)


async def tell(market: ServedMarket) -> None:
    """Two texts of a source that is well."""
    store, reader = SourceStore(market.pool, Instruments(market.pool)), Reader(Lexicon())
    items = [
        TextItem(
            source="coindesk",
            item_id=str(number),
            url=f"https://news.example/{number}",
            title=title,
            published_ms=to_ms(START - 3 * HOUR),
            known_ms=to_ms(START - 2 * HOUR) + number,
        )
        for number, title in enumerate(('Bitcoin "rallies", again', "Nobody knows anything"))
    ]
    await store.write(items, reader.on_texts(items), scored_at=START)
    measured = ((BTC, Metric.FUNDING_RATE, 0.0001), (ETH, Metric.OPEN_INTEREST, 71.0))
    await store.measure(
        [
            Measurement(
                instrument=instrument,
                metric=metric,
                event_ms=to_ms(START - HOUR),
                known_ms=to_ms(START - HOUR) + 500,
                value=value,
            )
            for instrument, metric, value in measured
        ]
    )
    one = SourceStatus(source="coindesk", state=SourceState.OK, since=START - 4 * HOUR, reason="")
    await store.change([one], known_at=START - 4 * HOUR)


async def warn(market: ServedMarket) -> None:
    """A channel is told the three newest signals that are not flat."""
    stream = "signals.1h.simulated.ETH/USDT"
    rows = await market.told(stream)
    entries = []
    for offset, row in enumerate(rows[-3:], start=1):
        notice = noticed("opened", START, place(stream, offset), orjson.dumps(row))
        assert notice is not None
        entries.append(Entry.of(notice, "ops", "simulated"))
    await Outbox(market.pool).enter(entries, {}, at=START)


async def miss(market: ServedMarket, instrument: Instrument = ETH, *, hours_ago: int = 3) -> None:
    """A candle is not there, and the ledger says so."""
    opened = START - hours_ago * HOUR
    await market.pool.execute(
        "DELETE FROM candles USING instruments i WHERE candles.instrument_id = i.instrument_id"
        " AND i.symbol = $1 AND open_time = $2",
        instrument.symbol,
        opened,
    )
    gap = Gap(
        instrument=instrument,
        timeframe=Timeframe.H1,
        from_ms=to_ms(opened),
        to_ms=to_ms(opened + HOUR),
        cause=Cause.SILENCE,
        state=GapState.FOUND,
    )
    await GapLedger(market.pool, Instruments(market.pool)).record([gap], at=START)


def mood(market: ServedMarket, number: int) -> ClassPredictionBatch:
    """A class label that is served of one instrument at a tick."""
    batch = market.batches[number]
    return ClassPredictionBatch(
        exchange=batch.exchange,
        timeframe=batch.timeframe,
        as_of=batch.as_of,
        instruments=(BTC,),
        horizon=HORIZON,
        kind="mood@1",
        model="class_prior.mood",
        version="1",
        made_at=batch.as_of,
        origin=Origin.LIVE,
        revision=np.array([1]),
        served=np.array([True]),
        names=("calm", "wild"),
        probabilities=np.array([[0.25, 0.75]]),
        degraded=("no_skill",),
    )
