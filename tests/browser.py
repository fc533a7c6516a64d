"""One Chromium for all tests of the page, and a window of its own for each."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.async_api import Page, async_playwright

BROWSER = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
SWITCHES = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
]
PATIENCE_S = 60.0


@dataclass(slots=True)
class Screen:
    """A page and everything it complained about or asked other servers for."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)


@contextmanager
def chromium(folder: Path) -> Iterator[str]:
    """A browser that runs until the end; the address by which it is driven."""
    assert BROWSER is not None
    said = folder / "DevToolsActivePort"
    process = subprocess.Popen(  # noqa: S603
        [BROWSER, *SWITCHES, f"--user-data-dir={folder}", "about:blank"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        end = time.monotonic() + PATIENCE_S
        while not (said.exists() and said.read_text().count("\n")):
            assert process.poll() is None, "the browser ended"
            assert time.monotonic() < end, "the browser does not start"
            time.sleep(0.02)  # it says in a file where it listens, and nothing else
        yield f"http://127.0.0.1:{said.read_text().split()[0]}"
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


@asynccontextmanager
async def window(browser_url: str, own: str, **options: Any) -> AsyncIterator[Screen]:
    """A window without a past; what it asks of others than `own` is kept."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.connect_over_cdp(browser_url)
        context = await browser.new_context(
            **{"viewport": {"width": 1280, "height": 900}, **options}
        )
        page = await context.new_page()
        seen = Screen(page)
        page.on("console", lambda said: _note(seen, said.type, said.text))
        page.on("pageerror", lambda error: seen.complaints.append(str(error)))
        page.on("request", lambda asked: _foreign(seen, own, asked.url))
        try:
            yield seen
        finally:
            await context.close()


def _note(seen: Screen, kind: str, text: str) -> None:
    if kind in ("error", "warning"):
        seen.complaints.append(text)


def _foreign(seen: Screen, own: str, asked: str) -> None:
    if not asked.startswith((own, own.replace("http", "ws"), "data:", "blob:")):
        seen.foreign.append(asked)
