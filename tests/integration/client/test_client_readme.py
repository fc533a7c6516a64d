"""What the client's README tells its reader to type works against a real server."""

from __future__ import annotations

import re
import textwrap
from contextlib import aclosing
from typing import Any

import pandas as pd
import polars as pl
import pytest

from alphapulse_client import Client, Position
from tests.full_market import fill
from tests.house import ROOT
from tests.served_market import TICKS, ServedMarket

BLOCKS = re.findall(
    r"^```python\n(.*?)^```", (ROOT / "client/README.md").read_text(), re.MULTILINE | re.DOTALL
)


def telling(word: str) -> str:
    """The block with a word in it, on the market of the tests."""
    (block,) = [one for one in BLOCKS if word in one]
    return str(block).replace("binance", "simulated").replace("\n...\n", "\n")


async def typed(block: str, **names: Any) -> dict[str, Any]:
    """What the names of a block stand for once it ran."""
    body = textwrap.indent(f"{block}\nreturn locals()", "    ")
    given = ", ".join(names)
    defined: dict[str, Any] = {"pandas": pd}
    exec(f"async def run({given}):\n{body}", defined)  # noqa: S102 - a file of ours
    found: dict[str, Any] = await defined["run"](**names)
    return found


async def test_lists(market: ServedMarket, capsys: pytest.CaptureFixture[str]) -> None:
    await fill(market)
    async with Client(market.url) as client:
        block = telling('client.rows("signals"').replace("BTC/USDT", "ETH/USDT")
        found = await typed(block, client=client, start=market.batches[0].as_of)

    assert len(capsys.readouterr().out.splitlines()) == TICKS
    assert list(found["candles"]["symbol"].unique()) == ["ETH/USDT"]
    assert isinstance(found["scores"], pl.DataFrame)
    assert len(found["scores"]) > 0


async def test_predictions_beside_candles(market: ServedMarket) -> None:
    start = market.batches[0].as_of
    async with Client(market.url) as client:
        listed = await typed(telling('client.frame("predictions"'), client=client, start=start)
        names = {"candles": listed["candles"], "join_predictions": listed["join_predictions"]}
        told = await typed(telling("/events"), client=client, start=start, **names)

    for joined in (listed["joined"], told["joined"]):
        assert len(joined) == TICKS - 1
        assert joined["made_at"].notna().sum() == TICKS - 2


async def test_the_chain(market: ServedMarket) -> None:
    async with Client(market.url) as client:
        found = await typed(telling("client.verify"), client=client)

    assert isinstance(found["last"], Position)
    assert found["last"].offset == TICKS


async def test_a_feed(market: ServedMarket) -> None:
    """The first block follows for ever: what it asks of a feed, and of its rows."""
    block = telling("FilePositions")

    assert re.findall(r"client\.\w+\(.*\)", block) == [
        'client.signals("1h", "BTC/USDT", positions=positions)'
    ]
    async with (
        Client(market.url) as client,
        aclosing(client.signals("1h", "BTC/USDT", since="start")) as feed,
    ):
        signal = await anext(feed)
    shown = re.search(r"print\((.*)\)", block)
    assert shown is not None
    assert eval(f"({shown[1]})", {"signal": signal})[1:3] == ("flat", "opened")  # noqa: S307
