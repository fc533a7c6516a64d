"""The page in a real browser: it shows what is served, live, and says when it cannot."""

from __future__ import annotations

import re
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from playwright.async_api import Page, async_playwright, expect

from backend.store import ledger, panels
from domain.account import Terms
from domain.keys import ApiKey
from tests.doubles import START
from tests.keyed import keyed
from tests.served_market import HORIZON, TICKS, ServedMarket, outcomes, signals

BROWSER = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")


@dataclass(slots=True)
class Screen:
    """A page and everything it complained about or asked other servers for."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)


@pytest.fixture
async def screen(market: ServedMarket) -> AsyncIterator[Screen]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=BROWSER, args=SWITCHES)
        page = await browser.new_page(viewport={"width": 1280, "height": 900})
        seen = Screen(page)
        page.on("console", lambda said: _note(seen, said.type, said.text))
        page.on("pageerror", lambda error: seen.complaints.append(str(error)))
        page.on("request", lambda asked: _foreign(seen, market.url, asked.url))
        yield seen
        await browser.close()


def _note(seen: Screen, kind: str, text: str) -> None:
    if kind in ("error", "warning"):
        seen.complaints.append(text)


def _foreign(seen: Screen, own: str, asked: str) -> None:
    if not asked.startswith((own, own.replace("http", "ws"), "data:", "blob:")):
        seen.foreign.append(asked)


async def test_the_page_shows_the_market_and_moves_with_it(
    market: ServedMarket, screen: Screen
) -> None:
    page = screen.page
    for batch in market.batches[:20]:
        await market.recorder.commit_learning(outcomes(batch, START), published_at=START)
    async with market.pool.acquire() as connection:
        await panels.rebuild(connection, START)

    await page.goto(market.url)

    await expect(page.locator("#market")).to_have_text("SIMULATED MARKET")
    await expect(page.locator("#freshness")).to_contain_text("fresh")
    await expect(page.locator("#link")).to_have_text("live")
    await expect(page.locator("#instruments button")).to_have_count(3)
    await expect(page.locator("#instruments button").first).to_contain_text(
        "flat: no proven direction skill"
    )
    await expect(page.locator("#predictions tbody tr")).to_have_count(3)
    await expect(page.locator("#predictions")).to_contain_text("gap")
    await expect(page.locator("#scores")).to_contain_text("class_prior")
    await expect(page.locator("#coverage")).to_contain_text("SOL/USDT")
    await expect(page.locator("#latency")).to_contain_text("features")
    await expect(page.locator("#feed .event")).to_have_count(TICKS)
    await expect(page.locator("#chart canvas").first).to_be_visible()

    await market.tick(TICKS)

    await expect(page.locator("#predictions-note")).to_contain_text("as of 01-01 01:00")
    await expect(page.locator("#clock")).to_have_text("2024-01-01 01:00 UTC")  # not behind the data
    await expect(page.locator("#feed .event")).to_have_count(TICKS + 1)
    await expect(page.locator("#legend")).to_contain_text(
        f"close {market.batches[TICKS].close[0]:.3f}"
    )
    assert (screen.complaints, screen.foreign) == ([], [])


async def test_what_is_made_up_and_what_is_degraded_is_said_in_words(
    market: ServedMarket, screen: Screen
) -> None:
    page = screen.page
    market.state.status.notes.append("Left out: binance 4h.")

    await page.goto(market.url)

    await expect(page.locator("#about")).to_contain_text("made up by a seeded generator")
    await expect(page.locator("#about")).to_contain_text("Left out: binance 4h.")
    market.state.status.notes += [f"binance {number}m: another timeframe" for number in range(20)]
    await expect(page.locator("#about li").last).to_be_hidden()
    await page.locator("#about summary").click()
    await expect(page.locator("#about li").last).to_have_text("binance 19m: another timeframe")
    legend = page.locator("#degraded-legend")
    await expect(legend.locator("dt")).to_have_text(
        ["gap in the candles", "no proven direction skill"]
    )
    await expect(legend).to_contain_text("candles are missing")
    await expect(legend).to_contain_text("no_skill.direction")


async def test_the_page_shows_where_candles_are_missing(
    market: ServedMarket, screen: Screen
) -> None:
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

    await screen.page.goto(market.url)

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
    assert screen.complaints == []


async def test_until_there_are_scores_the_page_says_what_is_awaited(
    market: ServedMarket, screen: Screen
) -> None:
    first = market.batches[0].as_of
    due = first + HORIZON * market.batches[0].timeframe.duration
    said = f"the first, of {first:%m-%d %H:%M}, at {due:%m-%d %H:%M}"

    await screen.page.goto(market.url)

    await expect(screen.page.locator("#scores")).to_contain_text(said)
    await expect(screen.page.locator("#scores")).to_contain_text("its score is being written")


async def test_a_signal_is_one_entry_that_goes_through_its_states(
    market: ServedMarket, screen: Screen
) -> None:
    page = screen.page
    await page.goto(market.url)
    newest = page.locator("#feed .event").first
    await expect(newest).to_contain_text("enters at the next open")
    batch = market.batches[TICKS - 1]
    filled = {"status": "active", "entry_price": 90.5, "stop": 88.0, "take": 93.0}

    told = await market.recorder.commit_tick(
        [signals(batch, event="updated", **filled)], published_at=START + timedelta(minutes=1)
    )
    market.state.hub.publish(told)

    await expect(newest).to_contain_text("stop 88.000, take 93.000")
    await expect(page.locator("#feed .event")).to_have_count(TICKS)


async def test_what_became_of_a_signal_during_an_outage_is_shown_after_it(
    market: ServedMarket, screen: Screen
) -> None:
    page = screen.page
    await page.goto(market.url)
    newest = page.locator("#feed .event").first
    await expect(newest).to_contain_text("enters at the next open")
    filled = {"status": "active", "entry_price": 90.5, "stop": 88.0, "take": 93.0}
    batch = market.batches[TICKS - 1]
    await market.recorder.commit_tick(  # which the page does not hear of
        [signals(batch, event="updated", **filled)], published_at=START + timedelta(minutes=1)
    )

    await market.state.hub.drain()
    market.state.hub.draining = False

    await expect(newest).to_contain_text("stop 88.000, take 93.000")
    await expect(page.locator("#feed .event")).to_have_count(TICKS)


async def test_nothing_is_cut_off_on_any_screen(market: ServedMarket, screen: Screen) -> None:
    page = screen.page
    for batch in market.batches[:20]:
        await market.recorder.commit_learning(outcomes(batch, START), published_at=START)
    async with market.pool.acquire() as connection:
        await panels.rebuild(connection, START)
    await page.goto(market.url)
    await expect(page.locator("#predictions tbody tr")).to_have_count(3)
    await expect(page.locator("#scores")).to_contain_text("class_prior")
    await expect(page.locator("#chart canvas").first).to_be_visible()

    for width in (390, 420, 1280, 1400, 1920):
        await page.set_viewport_size({"width": width, "height": 900})
        heights = await page.evaluate(_HEIGHTS)

        assert await page.evaluate(_CUT_OFF) == [], width
        assert len(set(heights)) == 1, width  # the chart does not push the box that it fills
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
        odds = page.locator("#predictions tbody tr").first.locator(".odds:visible")
        assert await odds.count() == 1, width


async def test_an_instrument_is_chosen_from_the_keyboard(
    market: ServedMarket, screen: Screen
) -> None:
    page = screen.page
    await page.goto(market.url)
    await expect(page.locator("#chart-title")).to_have_text("BTC/USDT · 1h")

    await page.locator("#instruments button").nth(1).focus()
    await page.keyboard.press("Enter")

    await expect(page.locator("#chart-title")).to_have_text("ETH/USDT · 1h")
    await expect(page.locator('[aria-current="true"]')).to_contain_text("ETH/USDT")
    assert screen.complaints == []


async def test_while_it_starts_the_page_says_how_far_it_is(
    market: ServedMarket, screen: Screen
) -> None:
    pool, market.state.reader = market.state.reader, None
    newest = dict(market.state.status.newest)
    market.state.status.newest.clear()
    market.state.status.report("candles", 300, 1_200)
    page = screen.page

    await page.goto(market.url)

    await expect(page.locator("#loading")).to_contain_text("candles: 300 of 1,200")
    await expect(page.locator("#freshness")).to_have_text("starting")
    market.state.reader = pool
    market.state.status.newest.update(newest)
    market.state.status.report("candles", 1_200, 1_200)
    await expect(page.locator("#loading")).to_be_hidden()
    await expect(page.locator("#predictions tbody tr")).to_have_count(3)
    market.state.status.report("training 1h", 2, 6)
    await expect(page.locator("#working")).to_have_text("training 1h: 2 of 6")
    await expect(page.locator("#loading")).to_be_hidden()
    assert screen.complaints == []


async def test_a_lost_connection_is_shown_and_made_again(
    market: ServedMarket, screen: Screen
) -> None:
    page = screen.page
    await page.goto(market.url)
    await expect(page.locator("#link")).to_have_text("live")
    await page.evaluate("document.querySelector('#link').textContent = 'seen'")

    await market.state.hub.drain()
    market.state.hub.draining = False

    await expect(page.locator("#link")).to_have_text("live")
    await market.tick(TICKS)
    await expect(page.locator("#predictions-note")).to_contain_text("as of 01-01 01:00")


async def test_stale_predictions_are_shown_as_stale(market: ServedMarket, screen: Screen) -> None:
    market.clock.advance(timedelta(hours=2))

    await screen.page.goto(market.url)

    await expect(screen.page.locator("#freshness")).to_have_text(re.compile("stale, 2 h"))


_CUT_OFF = """() => ["#predictions", "#scores", "#coverage", "#latency"].filter((id) => {
    const box = document.querySelector(id);
    return box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight;
})"""
_HEIGHTS = """async () => {
    const heights = [];
    for (let frame = 0; frame < 20; frame++) {
        await new Promise(requestAnimationFrame);
        heights.push(document.querySelector("#chart").clientHeight);
    }
    return heights;
}"""


async def test_the_page_shows_the_paper_account_beside_holding_and_nothing(
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

    await screen.page.goto(market.url)

    account = screen.page.locator("#ledger")
    await expect(account.locator("tbody tr")).to_have_count(4)  # three lines, and what is open
    await expect(account).to_contain_text("ETH/USDT")
    await expect(account).to_contain_text("1 signals taken")
    await expect(account.get_by_role("img")).to_have_accessible_name(re.compile("^equity .* hold"))
    await expect(screen.page.locator("#ledger-note")).to_contain_text("10,000 USDT")
    assert screen.complaints == []


async def test_the_page_asks_for_a_key_where_one_is_needed(market_url: str, screen: Screen) -> None:
    page = screen.page
    async with keyed(market_url) as doors:
        key = await doors.key(instruments=("simulated:BTC/USDT", "simulated:ETH/USDT"))
        await page.goto(doors.market.url)
        await expect(page.locator("#key-why")).to_contain_text("holders of a key")
        await page.locator("#key-text").fill(ApiKey.fresh().spelt())
        await page.locator("#key button").click()
        await expect(page.locator("#key-why")).to_contain_text("this key is unknown")

        await page.locator("#key-text").fill(key.spelt())
        await page.locator("#key button").click()

        await expect(page.locator("#link")).to_have_text("live")
        await expect(page.locator("#key")).to_be_hidden()
        await expect(page.locator("#instruments button")).to_have_count(2)
        await doors.market.tick(TICKS)
        await expect(page.locator("#clock")).to_have_text("2024-01-01 01:00 UTC")
        assert key.secret not in page.url
        refused = await doors.market.pool.fetch("SELECT path FROM audit_log")
    assert {row["path"] for row in refused} <= {"/v1/status", "/v1/ws-tickets", "/v1/dashboard"}
