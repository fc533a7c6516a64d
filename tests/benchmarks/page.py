"""What the overview of 500 instruments costs a browser while each has news every second."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any, Final

from playwright.async_api import CDPSession, Page, expect

from tests.benchmarks.market import scene
from tests.benchmarks.measure import Row, Size, p50, p99
from tests.benchmarks.serving import served, told
from tests.browser import BROWSER, chromium, window

INSTRUMENTS: Final = 500
TICKS: Final = 20
PACE_S: Final = 1.0
IDLE_S: Final = 5.0  # without news, for what the page and its clock of frames cost by themselves
STREAMS: Final = 3  # of an instrument
FRAMES: Final = """() => {
    window.frames = []; window.long = [];
    let last = performance.now();
    const frame = (now) => { frames.push(now - last); last = now; requestAnimationFrame(frame); };
    requestAnimationFrame(frame);
    new PerformanceObserver((list) => long.push(...list.getEntries().map((one) => one.duration)))
        .observe({ entryTypes: ["longtask"] });
}"""


async def overview(server: str, folder: Path, _size: Size) -> list[Row]:
    """Milliseconds of the page's main thread in a second, and how regular its frames are."""
    if BROWSER is None:
        return []
    warm = scene(INSTRUMENTS, TICKS + 2, [])
    profile = folder / "browser"
    async with served(server, folder, [warm]) as behind:
        played = behind.play(warm)
        ticks = [*told(warm)]
        for batch, messages in ticks[:2]:
            await played.tick(batch, messages)
        with chromium(profile) as browser_url:
            async with window(browser_url, behind.url) as screen:
                page = screen.page
                began = time.monotonic()
                await page.goto(behind.url)
                await expect(page.locator("#link")).to_have_text("live")
                loaded = time.monotonic() - began
                session = await page.context.new_cdp_session(page)
                await session.send("Performance.enable")
                await page.evaluate(FRAMES)
                idle = await _counters(session)
                await asyncio.sleep(IDLE_S)
                before, began = await _counters(session), time.monotonic()
                quiet = 1_000 * (before["TaskDuration"] - idle["TaskDuration"]) / IDLE_S
                await page.evaluate("frames.length = long.length = 0")
                for number, (batch, messages) in enumerate(ticks[2:], start=1):
                    await played.tick(batch, messages)
                    await asyncio.sleep(max(0.0, began + number * PACE_S - time.monotonic()))
                counted = (before, await _counters(session))
                return await _rows(page, counted, began, loaded, quiet)


async def _counters(session: CDPSession) -> dict[str, float]:
    found: dict[str, Any] = await session.send("Performance.getMetrics")
    return {one["name"]: one["value"] for one in found["metrics"]}


async def _rows(
    page: Page,
    counted: tuple[dict[str, float], dict[str, float]],
    began: float,
    loaded: float,
    quiet: float,
) -> list[Row]:
    before, after = counted
    wall = time.monotonic() - began
    busy = {
        name: 1_000 * (after[f"{name}Duration"] - before[f"{name}Duration"]) / wall
        for name in ("Task", "Script", "Layout", "RecalcStyle")
    }
    frames = (await page.evaluate("frames"))[2:]
    return [
        Row(
            name=f"page, {INSTRUMENTS} instruments × {STREAMS} events a second: main thread busy",
            value=busy["Task"],
            unit="ms/s",
            baseline=quiet,
            baseline_name="no news",
            detail={
                "script ms/s": busy["Script"],
                "layout ms/s": busy["Layout"],
                "style ms/s": busy["RecalcStyle"],
                "layouts a second": (after["LayoutCount"] - before["LayoutCount"]) / wall,
                "heap MB": after["JSHeapUsedSize"] / 1e6,
                "s to live": loaded,
            },
        ),
        Row(
            name=f"page, {INSTRUMENTS} instruments: time between frames, p99",
            value=p99(frames),
            unit="ms",
            detail={
                "p50 ms": p50(frames),
                "longest ms": max(frames),
                "long tasks": len(await page.evaluate("long")),
            },
        ),
    ]
