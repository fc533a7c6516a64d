"""Whatever is sent is answered or refused, and ends nobody's connection."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from backend.api.limits import Limits
from backend.api.messages import METHODS
from tests.doubles import ManualClock
from tests.served_market import TICKS, serving
from tests.subscriber import Client

FRAMES = 250
SIGNALS = "signals.1h.simulated.BTC/USDT"
WORDS = ("", "*", "*.*.*.*", SIGNALS, "head", "\x00", "x" * 300, "../..", "$ne", "1e999")
NUMBERS = (0, -1, 1, 0.5, 2**31, 2**63, 2**63 - 1, -(2**63), 10**25, 1e308)
KEYS = (
    "id", "method", "params", "streams", "since", "snapshot", "deliver", "stream", "from", "to",
    "limit", "order", "epoch", "offset", "time", "all", "data", "token",
)  # fmt: skip


def values(draw: random.Random, depth: int = 3) -> Any:
    kinds = ["word", "number", "constant", *(["list", "object"] if depth else [])]
    match draw.choice(kinds):
        case "word":
            return draw.choice(WORDS)
        case "number":
            return draw.choice(NUMBERS)
        case "constant":
            return draw.choice([None, True, False])
        case "list":
            return [values(draw, depth - 1) for _ in range(draw.randint(0, 4))]
        case _:
            keys = [draw.choice((*KEYS, *WORDS)) for _ in range(draw.randint(0, 5))]
            return {key: values(draw, depth - 1) for key in keys}


def frames(seed: int) -> Iterator[str | bytes]:
    """Requests with members that are exchanged for others, bytes that are none, and cut texts."""
    draw = random.Random(seed)  # noqa: S311 - no secret
    for _ in range(FRAMES):
        params = {key: values(draw) for key in draw.sample(KEYS, draw.randint(0, 6))}
        params.setdefault(draw.choice(["streams", "stream"]), draw.choice([[SIGNALS], SIGNALS]))
        request = {"id": values(draw, 1), "method": draw.choice(METHODS), "params": params}
        if draw.random() < 0.2:
            request[draw.choice(KEYS)] = values(draw)
        text = json.dumps(request)
        match draw.randint(0, 9):
            case 0:
                yield text[: draw.randint(0, len(text))]
            case 1:
                yield draw.randbytes(draw.randint(0, 200))
            case _:
                yield text


@pytest.mark.parametrize(
    "seed", [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 6))]
)
async def test_any_frame_leaves_its_connection_and_all_others(
    market_url: str, manual_clock: ManualClock, seed: int
) -> None:
    limits = Limits(requests_per_s=1_000_000, burst=1_000_000)
    async with (
        serving(market_url, manual_clock, limits=limits) as market,
        market.connect() as socket,
        market.connect() as other,
    ):
        client, quiet = Client(socket), Client(other)
        await client.next()
        await quiet.next()
        await quiet.ask("subscribe", streams=[SIGNALS], since="head")

        for number, frame in enumerate(frames(seed)):
            await socket.send(frame)
            await socket.send(orjson.dumps({"id": number, "method": "ping"}).decode())
            while (said := await client.frame())["type"] != "pong" or said["id"] != number:
                assert said.get("error", {}).get("code") != "internal", frame
        await market.tick(TICKS)
        update = await quiet.next()

    assert (update["type"], update["offset"]) == ("update", TICKS + 1)
