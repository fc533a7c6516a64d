"""The page's live link in a real browser: it goes on where it ended, and says what that cost."""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import timedelta

from playwright.async_api import Page, expect

from domain.keys import ApiKey
from tests.browser import Screen, window
from tests.doubles import START, ManualClock
from tests.keyed import keyed
from tests.ports import free_port
from tests.served_market import TICKS, ServedMarket, serving, signals

ETH = "signals.1h.simulated.ETH/USDT"
STREAMS = 9  # three instruments, three channels


async def live(page: Page) -> None:
    await expect(page.locator("#link")).to_have_text("live")


async def test_what_was_missed_in_an_outage_is_told_again(
    market: ServedMarket, screen: Screen
) -> None:
    page = screen.page
    await page.goto(f"{market.url}/#/signals")
    newest = page.locator("#feed .event").first
    await expect(newest).to_contain_text("enters at the next open")
    await live(page)
    filled = {"status": "active", "entry_price": 90.5, "stop": 88.0, "take": 93.0}
    batch = market.batches[TICKS - 1]
    await market.recorder.commit_tick(  # which the page does not hear of
        [signals(batch, event="updated", **filled)], published_at=START + timedelta(minutes=1)
    )

    await market.state.hub.drain()
    market.state.hub.draining = False

    await expect(page.locator("#resumed")).to_have_text("resumed: 1 event")
    await expect(newest).to_contain_text("stop 88.000, take 93.000")
    await expect(page.locator("#feed .event")).to_have_count(TICKS)
    assert screen.complaints == []


async def test_an_event_that_was_edited_meanwhile_is_named_and_the_page_goes_on(
    market: ServedMarket, screen: Screen
) -> None:
    page = screen.page
    await page.goto(f"{market.url}/#/signals")
    await live(page)
    await market.commit(TICKS)  # which the page does not hear of
    await market.pool.execute(
        "UPDATE stream_blocks SET payloads = overlay(payloads PLACING '!' FROM ends[1] + 1)"
        " WHERE log = 'signals.1h.simulated' AND block = $1",
        TICKS + 1,
    )

    await market.state.hub.drain()
    market.state.hub.draining = False

    named = page.locator("#resumed")
    await expect(named).to_contain_text("not resumed, loaded anew: 1 streams")
    await expect(named).to_contain_text(f"event {TICKS + 1} of {ETH} was edited")
    await live(page)
    assert screen.complaints == []


async def test_the_page_survives_a_server_that_starts_again(
    market_url: str, manual_clock: ManualClock, browser_url: str
) -> None:
    async with AsyncExitStack() as stack:
        port = free_port()
        before = await stack.enter_async_context(serving(market_url, manual_clock, port=port))
        async with window(browser_url, before.url) as screen:
            page = screen.page
            await page.goto(before.url)
            await live(page)
            await before.commit(TICKS)  # nobody is told
            await stack.aclose()
            await expect(page.locator("#link")).to_have_text("connection lost, trying again")
            await expect(page.locator("#trouble")).to_contain_text("The server does not answer")
            async with serving(market_url, manual_clock, port=port) as after:
                await live(page)
                await expect(page.locator("#resumed")).to_have_text(f"resumed: {STREAMS} events")
                await expect(page.locator("#trouble")).to_be_hidden()
                close = f"{before.batches[TICKS].close[0]:,.3f}"
                row = page.locator("table.instruments tbody tr").first
                await expect(row).to_contain_text(close)
                await after.tick(TICKS + 1)
                await expect(page.locator("#clock")).to_have_text("2024-01-01 02:00 UTC")


async def test_what_cannot_be_told_again_is_loaded_anew_and_said(
    market: ServedMarket, screen: Screen
) -> None:
    page = screen.page
    await page.goto(f"{market.url}/#/instrument/simulated/ETH%2FUSDT/1h")
    await expect(page.locator("#record tbody tr")).to_have_count(TICKS)
    await live(page)
    await market.commit(TICKS)
    await market.pool.execute("UPDATE stream_heads SET epoch = 'anew' WHERE log LIKE 'signals%'")

    await market.state.hub.drain()
    market.state.hub.draining = False

    await expect(page.locator("#resumed")).to_contain_text(
        "not resumed, loaded anew: 1 streams (its log began anew)"
    )
    await expect(page.locator("#record tbody tr")).to_have_count(TICKS + 1)


async def test_an_event_that_is_not_told_is_asked_for_again(
    market: ServedMarket, screen: Screen
) -> None:
    page = screen.page
    await page.goto(market.url)
    await live(page)
    await market.commit(TICKS)  # is in the log, and on no wire

    await market.tick(TICKS + 1)

    await expect(page.locator("#clock")).to_have_text("2024-01-01 02:00 UTC")
    await expect(page.locator("#resumed")).to_contain_text("resumed:")
    await live(page)


async def test_a_view_holds_the_streams_that_it_shows(market: ServedMarket, screen: Screen) -> None:
    page = screen.page
    await page.goto(market.url)
    await live(page)
    (connection,) = market.state.hub.connections
    assert len(connection.subscriptions) == STREAMS

    await page.get_by_role("link", name="ETH/USDT").last.click()
    await expect(page.locator("#record tbody tr")).to_have_count(TICKS)
    await live(page)

    assert {name for name in connection.subscriptions if "." in name} == {
        f"{channel}.1h.simulated.ETH/USDT" for channel in ("candles", "predictions", "signals")
    }
    await page.locator("#views a", has_text="Overview").click()
    await live(page)
    await market.tick(TICKS)
    await expect(page.locator("#clock")).to_have_text("2024-01-01 01:00 UTC")
    assert len(connection.subscriptions) == STREAMS
    assert len(market.state.hub.connections) == 1
    assert screen.complaints == []


async def test_the_page_asks_for_a_key_where_one_is_needed(
    market_url: str, browser_url: str
) -> None:
    async with keyed(market_url) as doors, window(browser_url, doors.market.url) as screen:
        page = screen.page
        key = await doors.key(instruments=("simulated:BTC/USDT", "simulated:ETH/USDT"))
        await page.goto(doors.market.url)
        await expect(page.locator("#key-why")).to_contain_text("holders of a key")
        await page.locator("#key-text").fill(ApiKey.fresh().spelt())
        await page.locator("#key button").click()
        await expect(page.locator("#key-why")).to_contain_text("this key is unknown")

        await page.locator("#key-text").fill(key.spelt())
        await page.locator("#key button").click()

        await live(page)
        await expect(page.locator("#key")).to_be_hidden()
        await expect(page.locator("table.instruments tbody tr")).to_have_count(2)
        await doors.market.tick(TICKS)
        await expect(page.locator("#clock")).to_have_text("2024-01-01 01:00 UTC")
        await page.locator("#views a", has_text="Models").click()  # its stream is not for this key
        await live(page)
        assert await page.evaluate("Object.values(sessionStorage)") == [key.spelt()]
        assert await page.evaluate("localStorage.length + document.cookie.length") == 0
        assert key.secret not in page.url
        refused = await doors.market.pool.fetch("SELECT path FROM audit_log")
    assert {row["path"] for row in refused} <= {"/v1/status", "/v1/ws-tickets", "/v1/dashboard"}
