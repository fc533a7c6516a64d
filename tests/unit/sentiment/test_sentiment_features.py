"""What sources told of instruments at a close, by hand."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import numpy as np
import pytest

from alphapulse_testing.panel import panel_batch
from domain.events import FeatureBatch, SentimentBatch
from domain.market import EPOCH, Instrument, from_ms
from domain.sources import MARKET, Measurement, Metric, SourceState, SourceStatus
from services.sentiment.features import SentimentFeatures
from tests.scored_items import HOUR, rows, scored

BTC, ETH = Instrument("simulated", "BTC/USDT"), Instrument("simulated", "ETH/USDT")
PERP = Instrument("binanceusdm", "BTC/USDT:USDT")
SOURCES = ("news", "fear_greed", "binanceusdm.funding_rate", "binanceusdm.open_interest")
CLOSE = 100 * 24 * HOUR  # ms since the epoch


def tick(as_of_ms: int, *instruments: Instrument) -> FeatureBatch:
    named = instruments or (BTC, ETH)
    batch = panel_batch(np.zeros((len(named), 1)), instruments=named)
    moment = from_ms(as_of_ms)
    return FeatureBatch(
        exchange=batch.exchange,
        timeframe=batch.timeframe,
        as_of=moment,
        instruments=batch.instruments,
        feature_set=batch.feature_set,
        values=batch.values,
        coverage=batch.coverage,
        revision=batch.revision,
        candle_revision=batch.candle_revision,
        known_at=moment,
    )


def status(state: SourceState = SourceState.OK, *names: str) -> list[SourceStatus]:
    return [SourceStatus(source=name, state=state, since=EPOCH) for name in names or SOURCES]


def opened() -> SentimentFeatures:
    """All sources are ok from three days before the close."""
    told = SentimentFeatures(since=EPOCH)
    told.on_statuses(status(), from_ms(CLOSE - 72 * HOUR))
    return told


def measured(
    metric: Metric, value: float, *, of: Instrument = PERP, event_ms: int = CLOSE, after: int = 0
) -> Measurement:
    return Measurement(
        instrument=of, metric=metric, event_ms=event_ms, known_ms=event_ms + after, value=value
    )


def at(told: SentimentFeatures, as_of_ms: int = CLOSE) -> SentimentBatch:
    batch = told.beside(tick(as_of_ms)).told
    assert batch is not None
    return batch


def values(batch: SentimentBatch, row: int = 0) -> Mapping[str, float]:
    return dict(zip(batch.feature_set.columns, batch.values[row].tolist(), strict=True))


def test_texts_count_for_their_asset_and_the_market_hears_all() -> None:
    told = opened()
    said = {"published_ms": CLOSE - HOUR, "known_ms": CLOSE - HOUR}
    told.on_scored(rows(scored("a", polarity=1.0, **said), scored("b", polarity=-1.0, **said)))
    told.on_scored(scored("c", asset="SOL", polarity=-1.0, **said))

    btc, eth = values(at(told)), values(at(told), 1)

    assert btc["news_count"] == 2
    assert btc["news_age_s"] == 3600
    assert btc["market_score"] == pytest.approx(-1 / 3)
    assert btc["divergence"] == pytest.approx(btc["news_score"] + 1 / 3)
    assert eth["news_count"] == 0
    assert np.isnan(eth["news_score"])
    assert eth["market_score"] == btc["market_score"]


def test_momentum_is_what_the_market_hears_beside_what_it_heard_a_day_ago() -> None:
    told = opened()
    early, late = CLOSE - 25 * HOUR, CLOSE - HOUR
    told.on_scored(scored("a", polarity=-1.0, published_ms=early, known_ms=early))
    told.on_scored(scored("b", polarity=1.0, published_ms=late, known_ms=late))

    market = values(at(told))["market_score"]

    assert market == pytest.approx((1 - 2**-4) / (1 + 2**-4))
    assert values(at(told))["momentum"] == pytest.approx(market + 1)


def test_an_instrument_has_what_is_measured_of_its_asset_and_its_own_first() -> None:
    told = opened()
    told.on_measurements([measured(Metric.FUNDING_RATE, 1e-4)])
    assert values(at(told))["funding_rate"] == 1e-4
    assert np.isnan(values(at(told), 1)["funding_rate"])

    own = Instrument("simulated", "BTC/USDT:USDT")
    told.on_statuses(status(SourceState.OK, "simulated.funding_rate"), from_ms(CLOSE))
    told.on_measurements([measured(Metric.FUNDING_RATE, 5e-4, of=own)])
    batch = told.beside(tick(CLOSE, own)).told
    assert batch is not None
    assert values(batch)["funding_rate"] == 5e-4
    assert values(at(told))["funding_rate"] == 1e-4  # the first by name


def test_open_interest_is_told_as_its_change_of_a_day() -> None:
    told = opened()
    before = measured(Metric.OPEN_INTEREST, 100.0, event_ms=CLOSE - 24 * HOUR)
    told.on_measurements([before])
    assert np.isnan(values(at(told))["open_interest_change"])

    told.on_measurements([measured(Metric.OPEN_INTEREST, 200.0)])
    assert values(at(told))["open_interest_change"] == pytest.approx(np.log(2))


def test_a_value_grows_old_and_ends() -> None:
    told = opened()
    told.on_measurements([measured(Metric.FEAR_GREED, 40.0, of=MARKET)])

    a_day, later = CLOSE + 24 * HOUR, CLOSE + 73 * HOUR

    assert values(at(told, a_day))["fear_greed"] == 40
    assert values(at(told, a_day))["fear_greed_age_s"] == 24 * 3600
    assert np.isnan(values(at(told, later))["fear_greed"])
    assert np.isnan(values(at(told, later))["fear_greed_age_s"])


@pytest.mark.parametrize("state", [SourceState.DOWN, SourceState.OFF])
def test_a_source_that_is_down_tells_nothing_and_says_so(state: SourceState) -> None:
    told = opened()
    told.on_scored(scored("a", published_ms=CLOSE, known_ms=CLOSE))
    facts = [measured(Metric.FUNDING_RATE, 1e-4), measured(Metric.FEAR_GREED, 40.0, of=MARKET)]
    told.on_measurements(facts)
    told.on_statuses(status(state), from_ms(CLOSE + HOUR))

    before, after = at(told), at(told, CLOSE + HOUR)

    known = {"news_score", "news_count", "market_score", "funding_rate", "fear_greed"}
    assert all(np.isfinite(values(before)[name]) for name in known)
    assert set(before.status.values()) == {"ok"}
    assert np.isnan(after.values).all()
    assert after.status == dict.fromkeys(sorted(SOURCES), state.value)


def test_a_stale_source_counts_and_says_that_it_is_stale() -> None:
    told = opened()
    told.on_measurements([measured(Metric.FUNDING_RATE, 1e-4)])
    told.on_statuses(status(SourceState.STALE, SOURCES[2]), from_ms(CLOSE))

    assert values(at(told))["funding_rate"] == 1e-4
    assert at(told).status[SOURCES[2]] == "stale"


def test_one_feed_that_is_down_leaves_what_it_told_to_the_others() -> None:
    told = opened()
    told.on_statuses(status(SourceState.DOWN, "another"), from_ms(CLOSE - HOUR))
    told.on_scored(scored("a", source="another", published_ms=CLOSE, known_ms=CLOSE))

    assert values(at(told))["news_count"] == 1


def test_closes_that_nothing_is_remembered_of_have_no_status() -> None:
    told = SentimentFeatures(since=from_ms(CLOSE))
    told.on_statuses(status(), from_ms(CLOSE))
    told.on_measurements([measured(Metric.FUNDING_RATE, 1e-4)])

    assert at(told, CLOSE + 95 * HOUR).status == {}
    assert at(told, CLOSE + 96 * HOUR).status != {}
    assert at(SentimentFeatures(since=EPOCH)).status == {}
    assert not SentimentFeatures(since=EPOCH).collects
    assert told.collects


def test_a_source_counts_as_asked_until_it_is_off_at_the_newest_close() -> None:
    told = opened()
    told.on_statuses(status(SourceState.OFF), from_ms(CLOSE + HOUR))

    at(told)
    assert told.collects
    at(told, CLOSE + HOUR)
    assert not told.collects


def test_a_prepared_close_is_the_same_and_facts_that_came_meanwhile_are_in_it() -> None:
    told, unprepared = opened(), opened()
    fact = measured(Metric.FUNDING_RATE, 1e-4, event_ms=CLOSE + HOUR // 2)
    for one in (told, unprepared):
        one.beside(tick(CLOSE))
        if one is told:
            one.prepare()
        one.on_measurements([fact])
        if one is told:
            one.prepare()
            one.on_measurements([measured(Metric.FUNDING_RATE, 9.0, event_ms=CLOSE + 2 * HOUR)])

    ready, computed = at(told, CLOSE + HOUR), at(unprepared, CLOSE + HOUR)

    assert values(ready)["funding_rate"] == 1e-4
    assert np.array_equal(ready.values, computed.values, equal_nan=True)
    assert ready.status == computed.status


def test_what_is_too_old_is_forgotten_once_closes_follow_the_facts() -> None:
    told, whole = opened(), opened()
    told.settle()
    for day in range(12):
        moment = CLOSE + day * 24 * HOUR
        for one in (told, whole):
            one.on_scored(scored(f"item {day}", published_ms=moment, known_ms=moment))
            one.on_measurements([measured(Metric.FUNDING_RATE, float(day), event_ms=moment)])

    newest = CLOSE + 11 * 24 * HOUR

    assert at(told, newest - 100 * 24 * HOUR).status == {}
    for close in (newest, newest - 24 * HOUR):
        assert np.array_equal(at(told, close).values, at(whole, close).values, equal_nan=True)
    assert timedelta(days=5).total_seconds() * 1000 == newest - told.since_ms
