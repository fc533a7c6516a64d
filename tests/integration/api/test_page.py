"""The page in a real browser: the overview, what it says of itself, and how it is reached."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Literal

import pytest
from playwright.async_api import expect

from backend.api.status import Market
from backend.store import panels
from domain.market import Instrument
from tests.browser import Screen
from tests.doubles import START
from tests.full_market import fill
from tests.served_market import TICKS, ServedMarket, outcomes

VIEWS = ["#/", "#/signals", "#/models", "#/data", "#/sentiment"]
INSTRUMENT = "#/instrument/simulated/ETH%2FUSDT/1h"
WIDTHS = (390, 768, 1280, 1920)
HIDDEN = 1  # pixel: what is there for who does not see
HOSTILE = "<img src=x onerror=window.hit=1>"
MOST_BYTES = 150_000  # of the overview, as it is sent


async def scored(market: ServedMarket) -> None:
    for batch in market.batches[:20]:
        await market.recorder.commit_learning(outcomes(batch, START), published_at=START)
    async with market.pool.acquire() as connection:
        await panels.rebuild(connection, START)


async def test_the_overview_shows_the_market_and_moves_with_it(
    market: ServedMarket, screen: Screen
) -> None:
    page = screen.page
    await scored(market)

    await page.goto(market.url)

    await expect(page.locator("#market")).to_have_text("SIMULATED MARKET")
    await expect(page.locator("#freshness")).to_contain_text("fresh")
    await expect(page.locator("#link")).to_have_text("live")
    rows = page.locator("table.instruments tbody tr")
    await expect(rows).to_have_count(3)
    await expect(rows.nth(0)).to_contain_text("no proven direction skill")
    await expect(rows.nth(0)).to_contain_text("1.20 %")  # volatility
    await expect(rows.nth(1).locator(".side")).to_have_text("long")
    await expect(rows.nth(1).get_by_role("img")).to_have_accessible_name(
        "down 30 %, flat 30 %, up 40 %"
    )
    await expect(rows.nth(2)).to_contain_text("gap in the candles")
    await expect(rows.nth(2)).to_contain_text("100 %")  # coverage
    await expect(page.locator("#skill-body")).to_contain_text("against class_prior · n 60")
    await expect(page.locator("#skill-body")).to_contain_text("too few days for an interval")
    await expect(page.locator("#now-body")).to_contain_text("2 × no proven direction skill")

    await market.tick(TICKS)

    close = f"{market.batches[TICKS].close[0]:,.3f}"
    await expect(rows.nth(0)).to_contain_text(close)
    await expect(page.locator("#clock")).to_have_text("2024-01-01 01:00 UTC")  # not behind the data
    assert (screen.complaints, screen.foreign) == ([], [])


async def test_what_is_made_up_is_said_in_words(market: ServedMarket, screen: Screen) -> None:
    page = screen.page
    market.state.status.notes.append("Left out: binance 4h.")

    await page.goto(market.url)

    await expect(page.locator("#about")).to_contain_text("made up by a seeded generator")
    await expect(page.locator("#about")).to_contain_text("Left out: binance 4h.")
    market.state.status.notes += [f"binance {number}m: another timeframe" for number in range(20)]
    await expect(page.locator("#about li").last).to_be_hidden()
    await page.locator("#about summary").click()
    await expect(page.locator("#about li").last).to_have_text("binance 19m: another timeframe")


async def test_a_hostile_symbol_and_a_hostile_headline_are_text(
    market: ServedMarket, screen: Screen
) -> None:
    page = screen.page
    strange = Instrument("simulated", HOSTILE)
    market.state.status.instruments = (*market.state.status.instruments, strange)
    market.state.status.market = Market.LIVE  # where texts are links
    await market.pool.execute(
        "INSERT INTO sentiment_items (source, item_id, known_at, published_at, dating, kind, title,"
        " url, content_hash) VALUES ('feed', '1', $1, $1, 'told', 'news', $2,"
        " 'javascript:window.hit=1', '')",
        START - timedelta(hours=1), HOSTILE,
    )  # fmt: skip

    await page.goto(market.url)
    await expect(page.locator("table.instruments")).to_contain_text(HOSTILE)
    await page.get_by_role("link", name=HOSTILE).click()
    await expect(page.locator("#chart-title")).to_contain_text(HOSTILE)
    await page.goto(f"{market.url}/#/sentiment")

    await expect(page.locator("#texts")).to_contain_text(HOSTILE)
    assert await page.locator("img[src=x], a[href^=javascript]").count() == 0
    assert await page.evaluate("window.hit") is None


async def test_nothing_is_cut_off_on_any_screen(market: ServedMarket, screen: Screen) -> None:
    page = screen.page
    await fill(market)
    for view in [*VIEWS, INSTRUMENT]:
        await page.goto(f"{market.url}/{view}")
        await expect(page.locator("main table").first).to_be_visible()
        for width in WIDTHS:
            await page.set_viewport_size({"width": width, "height": 900})
            reach = await page.evaluate("document.documentElement.scrollWidth")
            assert reach <= width, (view, width)
            assert await page.evaluate(_CUT_OFF) == [], (view, width)
    assert screen.complaints == []


async def test_every_view_is_reached_and_read_from_the_keyboard(
    market: ServedMarket, screen: Screen
) -> None:
    page = screen.page
    await page.goto(market.url)
    await expect(page.locator("table.instruments tbody tr")).to_have_count(3)

    await page.keyboard.press("Tab")
    await expect(page.locator("#skip")).to_be_focused()
    box = await page.locator("#skip").bounding_box()
    assert box is not None
    assert min(box["width"], box["height"]) > HIDDEN
    await page.keyboard.press("Enter")
    await expect(page.locator("#view")).to_be_focused()
    await page.get_by_role("link", name="ETH/USDT").last.focus()
    await page.keyboard.press("Enter")
    await expect(page.locator("#chart-title")).to_have_text("ETH/USDT · 1h")
    await expect(page.get_by_role("heading", level=1)).to_be_focused()
    await page.locator("#views a", has_text="Models").focus()
    await page.keyboard.press("Enter")
    await expect(page.locator('#views [aria-current="page"]')).to_have_text("Models")
    for region in await page.locator("[tabindex='0']").all():  # what scrolls has a name
        assert await region.get_attribute("aria-labelledby")
    assert await page.locator("table:not(:has(caption)), th:not([scope])").count() == 0
    assert await page.locator("[aria-live], [role=status], [role=alert]").count() == 1
    assert screen.complaints == []


async def test_rows_are_found_and_sorted(market: ServedMarket, screen: Screen) -> None:
    page = screen.page
    await page.goto(market.url)
    names = page.locator("table.instruments tbody tr:visible th a")
    await expect(names).to_have_text(["BTC/USDT", "ETH/USDT", "SOL/USDT"])
    await expect(page.locator("table.instruments tbody tr").last).to_contain_text("1.20 %")

    await page.get_by_role("button", name="Odds").click()
    await expect(names).to_have_text(["SOL/USDT", "ETH/USDT", "BTC/USDT"])
    await expect(page.locator('[aria-sort="descending"]')).to_contain_text("Odds")
    await page.get_by_label("Find").fill("eth")

    await expect(names).to_have_text(["ETH/USDT"])


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
    await expect(page.locator("table.instruments tbody tr")).to_have_count(3)
    market.state.status.report("training 1h", 2, 6)
    await expect(page.locator("#working")).to_have_text("training 1h: 2 of 6")
    await expect(page.locator("#loading")).to_be_hidden()
    assert screen.complaints == []


async def test_stale_predictions_are_shown_as_stale(market: ServedMarket, screen: Screen) -> None:
    market.clock.advance(timedelta(hours=2))

    await screen.page.goto(market.url)

    await expect(screen.page.locator("#freshness")).to_have_text(re.compile("stale, 2 h"))


async def test_the_overview_is_small_and_asks_nobody_else(
    market: ServedMarket, screen: Screen, record_property: Callable[[str, object], None]
) -> None:
    page = screen.page
    answer = await page.goto(market.url)
    await expect(page.locator("#link")).to_have_text("live")
    timing = await page.evaluate("performance.getEntriesByType('navigation')[0].toJSON()")
    files = await page.evaluate(
        "performance.getEntriesByType('resource').filter(({name}) => name.includes('/static/'))"
        ".map(({name, encodedBodySize}) => [name, encodedBodySize])"
    )
    total = sum(size for _, size in files) + timing["encodedBodySize"]

    record_property("bytes", total)
    record_property("load_ms", timing["loadEventEnd"])
    assert 0 < total < MOST_BYTES, files
    assert not any("lightweight-charts" in name for name, _ in files)  # for an instrument alone
    assert answer is not None
    assert answer.headers["content-security-policy"].startswith("default-src 'self'")


_CUT_OFF = """() => [...document.querySelectorAll(".scroll, .tile")].filter((box) =>
    box.scrollWidth > box.clientWidth && getComputedStyle(box).overflowX === "visible"
).map((box) => box.id)"""


@pytest.mark.parametrize("scheme", ["dark", "light"])
async def test_words_stand_out_from_what_is_behind_them(
    market: ServedMarket, screen: Screen, scheme: Literal["dark", "light"]
) -> None:
    page = screen.page
    await page.emulate_media(color_scheme=scheme)
    await page.goto(market.url)

    weak = await page.evaluate(_CONTRASTS)

    assert {pair: ratio for pair, ratio in weak.items() if ratio < AA} == {}


AA = 4.5  # of text, by WCAG 2
_CONTRASTS = """() => {
    const style = getComputedStyle(document.documentElement);
    const light = (name) => {
        const hex = style.getPropertyValue(name).trim();
        const [r, g, b] = [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16) / 255)
            .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const found = {};
    for (const word of ["--text", "--quiet", "--up", "--down", "--warn", "--accent"]) {
        for (const behind of ["--card", "--ground", "--grid"]) {
            const [low, high] = [light(word), light(behind)].sort((a, b) => a - b);
            found[`${word} on ${behind}`] = (high + 0.05) / (low + 0.05);
        }
    }
    return found;
}"""
