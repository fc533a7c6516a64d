"""The views of the page in a real browser: one instrument, signals, models, data, sentiment."""

from __future__ import annotations

import re
from datetime import timedelta

from playwright.async_api import expect

from backend.store import ledger, panels
from domain.account import Terms
from domain.events import ModelEvent
from domain.market import Timeframe
from tests.browser import Screen
from tests.doubles import START
from tests.full_market import MODELS, SEATED, fill
from tests.served_market import HORIZON, TICKS, ServedMarket, outcomes, signals

ETH = "#/instrument/simulated/ETH%2FUSDT/1h"


async def test_an_instrument_has_its_candles_its_signals_and_its_gates(
    market: ServedMarket, screen: Screen
) -> None:
    page = screen.page

    await page.goto(f"{market.url}/{ETH}")

    await expect(page.locator("#chart canvas").first).to_be_visible()
    await expect(page.locator("#newest")).to_contain_text("pending")
    await expect(page.locator("#record tbody tr")).to_have_count(TICKS)
    await expect(page.locator("#why")).to_contain_text("Only baselines speak here")
    await page.goto(f"{market.url}/{ETH.replace('ETH', 'SOL')}")
    row = page.locator("#record tbody tr").first
    await expect(row).to_contain_text("no proven direction skill: the class frequencies are served")
    await expect(page.locator("#newest .codes li")).to_have_count(2)
    await expect(page.locator("#newest")).to_contain_text("candles are missing among those")

    await market.tick(TICKS)

    await expect(page.locator("#newest-note")).to_have_text("as of 01-01 01:00, live")
    await expect(page.locator("#record tbody tr")).to_have_count(TICKS + 1)
    close = f"close {market.batches[TICKS].close[2]:,.3f}"
    await expect(page.locator("#legend")).to_contain_text(close[:10])
    assert screen.complaints == []


async def test_where_candles_are_missing_and_models_changed_is_told_beside_the_chart(
    market: ServedMarket, screen: Screen
) -> None:
    await fill(market)

    await screen.page.goto(f"{market.url}/{ETH}")

    await expect(screen.page.locator("#gaps tbody tr")).to_have_count(1)
    await expect(screen.page.locator("#gaps")).to_contain_text("open")


async def test_a_signal_is_one_entry_that_goes_through_its_states(
    market: ServedMarket, screen: Screen
) -> None:
    page = screen.page
    await page.goto(f"{market.url}/#/signals")
    newest = page.locator("#feed .event").first
    await expect(newest).to_contain_text("enters at the next open")
    await expect(page.locator("#feed .event")).to_have_count(TICKS)
    await expect(page.locator("#flat")).to_contain_text("no proven direction skill")
    batch = market.batches[TICKS - 1]
    filled = {"status": "active", "entry_price": 90.5, "stop": 88.0, "take": 93.0}

    told = await market.recorder.commit_tick(
        [signals(batch, event="updated", **filled)], published_at=START + timedelta(minutes=1)
    )
    market.state.hub.publish(told)

    await expect(newest).to_contain_text("stop 88.000, take 93.000")
    await expect(page.locator("#feed .event")).to_have_count(TICKS)
    ended = {**filled, "status": "take_profit", "exit_price": 93.0, "realized_return": 0.025}
    closed = START + timedelta(hours=1)
    told = await market.recorder.commit_tick(
        [signals(batch, event="closed", closed_ms=int(closed.timestamp() * 1_000), **ended)],
        published_at=closed,
    )
    market.state.hub.publish(told)
    await expect(newest).to_contain_text("+2.50 %")
    await page.reload()
    await expect(page.locator("#ended")).to_contain_text("take profit")
    await expect(page.locator("#ended-note")).to_contain_text("beside 0 for doing nothing")
    assert screen.complaints == []


async def test_the_paper_account_stands_beside_holding_and_nothing(
    market: ServedMarket, screen: Screen
) -> None:
    entered = {"status": "active", "entry_price": 100.0}
    batch = market.batches[TICKS - 4]
    await market.recorder.commit_tick(
        [signals(batch, event="updated", **entered)], published_at=START
    )
    async with market.pool.acquire() as connection:
        await ledger.fold(connection, lambda _: Terms(), closes=1_000)
        await panels.rebuild(connection, START)

    await screen.page.goto(f"{market.url}/#/signals")

    account = screen.page.locator("#ledger")
    await expect(account.locator("tbody tr")).to_have_count(4)  # three lines, and what is open
    await expect(account).to_contain_text("ETH/USDT")
    await expect(account).to_contain_text("1 signals taken")
    await expect(account.get_by_role("img")).to_have_accessible_name(re.compile("^equity .* hold"))
    await expect(screen.page.locator("#ledger-note")).to_contain_text("10,000 USDT")
    assert screen.complaints == []


async def test_until_there_are_scores_the_page_says_what_is_awaited(
    market: ServedMarket, screen: Screen
) -> None:
    first = market.batches[0].as_of
    due = first + HORIZON * market.batches[0].timeframe.duration
    said = f"the first, of {first:%m-%d %H:%M}, at {due:%m-%d %H:%M}"

    await screen.page.goto(f"{market.url}/#/models")
    async with market.pool.acquire() as connection:
        await panels.rebuild(connection, START)

    await expect(screen.page.locator("#scores")).to_contain_text(said)
    await expect(screen.page.locator("#scores")).to_contain_text("its score is being written")


async def test_models_show_their_record_their_calibration_and_how_two_compare(
    market: ServedMarket, screen: Screen
) -> None:
    page = screen.page
    for batch in market.batches[:20]:
        await market.recorder.commit_learning(outcomes(batch, START), published_at=START)
    await market.pool.execute(MODELS)
    await market.pool.execute(SEATED)
    for kind, target, detail in (
        ("promoted", "direction", "beats the baseline"),
        ("drift", "", "error rose"),
    ):
        told = ModelEvent(
            exchange="simulated",
            timeframe=Timeframe.H1,
            horizon=HORIZON,
            at=START,
            kind=kind,
            target=target,
            model="lightgbm.direction" if target else "",
            version="2",
            detail=detail,
        )
        await market.recorder.commit_learning([told], published_at=START)
    async with market.pool.acquire() as connection:
        await panels.rebuild(connection, START)

    await page.goto(f"{market.url}/#/models")

    await expect(page.locator("#scores")).to_contain_text("class_prior")
    drawn = page.locator("#days").get_by_role("img")
    await expect(drawn).to_have_accessible_name("Skill by day of served")
    await expect(page.locator("#days")).to_contain_text("n 60, against class_prior.direction")
    square = page.locator("#calibration .square")
    await expect(square).to_have_attribute("aria-label", re.compile("up: said 40 %, came 100 %"))
    await expect(page.locator("#champions tbody tr")).to_have_text(re.compile("beats the baseline"))
    await expect(page.locator("#drift tbody tr")).to_have_text(re.compile("error rose"))
    await expect(page.locator("#pool tbody tr")).to_have_text(re.compile("100.0 %"))
    boxes = page.locator("#versions input")
    await expect(boxes).to_have_count(2)
    await boxes.nth(0).check()
    await boxes.nth(1).check()
    await page.get_by_role("link", name=re.compile("^Compare lightgbm")).click()
    await expect(page.locator("#difference")).to_contain_text("never scored on the same rows")
    await page.goto(f"{market.url}/#/models/compare?a=served&b=class_prior.direction")
    await expect(page.locator("#difference")).to_contain_text(
        re.compile(r"n 60 rows in \d+ blocks")
    )
    await expect(page.locator("#instrument tbody tr")).to_have_count(3)
    await expect(page.locator("#hour tbody tr")).not_to_have_count(0)
    assert screen.complaints == []


async def test_data_shows_where_candles_are_missing(market: ServedMarket, screen: Screen) -> None:
    strips = screen.page.locator("#coverage tr", has_text="ETH/USDT")
    for first, last, state in ((9, 7, "open"), (5, 4, "unfillable")):
        await market.pool.execute(
            "WITH gone AS (DELETE FROM candles USING instruments i WHERE i.symbol = 'ETH/USDT'"
            " AND candles.instrument_id = i.instrument_id AND open_time >= $1 AND open_time < $2"
            " RETURNING candles.instrument_id)"
            " INSERT INTO ingest_gaps SELECT DISTINCT instrument_id, '1h', $1::timestamptz,"
            " $2::timestamptz, 'audit', $3, $1::timestamptz, NULL::timestamptz FROM gone",
            START - timedelta(hours=first),
            START - timedelta(hours=last),
            state,
        )
    async with market.pool.acquire() as connection:
        await panels.rebuild(connection, START)

    await screen.page.goto(f"{market.url}/#/data")

    drawing = strips.get_by_role("img")
    await expect(drawing).to_have_accessible_name(
        "27 of the newest 30 candles; 12-31 15:00 to 12-31 17:00 open;"
        " 12-31 19:00 to 12-31 20:00 unfillable"
    )
    await expect(drawing.locator("rect.open")).to_have_attribute("x", "84")
    await expect(drawing.locator("rect.unfillable")).to_have_attribute("width", "4")
    await expect(strips).to_contain_text("12-31 15:00 to 12-31 17:00 open")
    await expect(strips).to_contain_text("90.0 %")
    await expect(screen.page.locator("#coverage rect.open")).to_have_count(1)
    await expect(screen.page.locator("#gaps tbody tr")).to_have_count(2)
    await expect(screen.page.locator("#exchanges")).to_contain_text("87 of 90")
    await expect(screen.page.locator("#latency")).to_contain_text("features")
    assert screen.complaints == []


async def test_sentiment_shows_texts_with_their_scores(
    market: ServedMarket, screen: Screen
) -> None:
    await fill(market)

    await screen.page.goto(f"{market.url}/#/sentiment")

    await expect(screen.page.locator("#texts tbody tr")).to_have_count(2)
    await expect(screen.page.locator("#texts")).to_contain_text('Bitcoin "rallies", again')
    await expect(screen.page.locator("#texts")).to_contain_text("no known word")
    await expect(screen.page.locator("#assets")).to_contain_text("BTC")
    await expect(screen.page.locator("#mood-note")).to_contain_text("Fear & Greed not known")
    assert screen.complaints == []
