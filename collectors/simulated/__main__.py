"""`python -m collectors.simulated`: the simulated exchange as a process of its own.

Prints one line of JSON when it listens. With a pipe as standard input it ends when that does,
and so never outlives the process that started it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import stat
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

from collectors.simulated.choice import MarketChoice, open_market
from collectors.simulated.server import HISTORY, UPDATES, Play, serve
from domain.errors import AlphaPulseError
from domain.market import Timeframe, to_ms


def main(arguments: list[str] | None = None) -> int:
    """Serve until standard input ends; 2 where what was asked for cannot be."""
    options = _parser().parse_args(arguments)
    try:
        asyncio.run(_serve(options))
    except KeyboardInterrupt:
        return 0
    except AlphaPulseError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m collectors.simulated", description=__doc__)
    add = parser.add_argument
    add("--data", type=Path, help="folder of recorded candles")
    add("--exchange", help="whose recordings")
    add("--symbols", type=lambda text: text.split(","), help="separated by commas")
    add("--timeframe", type=Timeframe, choices=list(Timeframe), help="that is played")
    add("--from", dest="since", type=_moment, help="where the clock starts")
    add("--to", dest="until", type=_moment, help="where recordings end")
    add("--seed", type=int, default=1)
    add("--signal", type=float, default=1.0, help="strength of the planted signal; 0 is none")
    add("--speed", type=float, default=1.0, help="simulated seconds per second")
    add("--history", type=int, default=HISTORY, help="candles before the clock starts")
    add("--updates", type=int, default=UPDATES, help="forming frames per candle")
    add("--held", action="store_true", help="the clock waits for POST /_control/clock")
    add("--host", default="127.0.0.1")
    add("--port", type=int, default=0, help="0 lets the system choose")
    return parser


def _moment(text: str) -> int:
    moment = datetime.fromisoformat(text)
    return to_ms(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


async def _serve(options: argparse.Namespace) -> None:
    market = open_market(
        MarketChoice(
            data=options.data,
            exchange=options.exchange,
            symbols=options.symbols,
            timeframe=options.timeframe,
            until_ms=options.until,
            seed=options.seed,
            signal=options.signal,
        )
    )
    play = Play(
        speed=options.speed,
        clock_ms=options.since,
        history=options.history,
        updates=options.updates,
        held=options.held,
        host=options.host,
        port=options.port,
        press=options.seed if options.data is None else None,
    )
    serving = asyncio.create_task(serve(market, play, ready=_announce))
    _end_with_input(serving)
    with contextlib.suppress(asyncio.CancelledError):
        await serving


def _announce(port: int) -> None:
    sys.stdout.write(json.dumps({"ready": True, "port": port}) + "\n")
    sys.stdout.flush()


def _end_with_input(serving: asyncio.Task[None]) -> None:
    """Cancel `serving` when standard input ends, where it is a pipe from the parent."""
    mode = os.fstat(sys.stdin.fileno()).st_mode
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        return
    loop = asyncio.get_running_loop()

    def wait_for_end() -> None:
        while sys.stdin.buffer.read(4096):
            pass
        with contextlib.suppress(RuntimeError):  # the loop has closed meanwhile
            loop.call_soon_threadsafe(serving.cancel)

    threading.Thread(target=wait_for_end, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
