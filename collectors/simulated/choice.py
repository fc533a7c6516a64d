"""Which market the simulated exchange plays: recorded candles of a folder, or the synthetic one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from collectors.recorded import choose, read_folder
from collectors.simulated.instruments import default_symbols
from collectors.simulated.market import START_MS, SyntheticMarket
from collectors.simulated.recording import RecordedMarket
from collectors.simulated.tape import Market
from domain.market import Timeframe

INSTRUMENTS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketChoice:
    """What is asked for; None leaves the choice open.

    Attributes:
        data: Folder of recorded candles; None: the synthetic market.
        exchange: Whose recordings.
        until_ms: Where recordings end.
        seed: Of the synthetic market.
        signal: Strength of its planted signal.
        timeframe: That carries its structure, and its shortest; None: 1h, shown from 1m on.
    """

    data: Path | None = None
    exchange: str | None = None
    symbols: Sequence[str] | None = None
    timeframe: Timeframe | None = None
    until_ms: int | None = None
    seed: int = 1
    signal: float = 1.0


def open_market(choice: MarketChoice) -> Market:
    """The market that was asked for.

    Raises:
        UsageError: The folder does not hold what was asked for.
    """
    if choice.data is None:
        return SyntheticMarket(
            tuple(choice.symbols or default_symbols(INSTRUMENTS)),
            seed=choice.seed,
            timeframe=choice.timeframe or Timeframe.H1,
            finest=None if choice.timeframe else Timeframe.M1,
            signal=choice.signal,
            start_ms=START_MS,
        )
    selection = choose(
        read_folder(choice.data),
        exchange=choice.exchange,
        symbols=choice.symbols,
        timeframe=choice.timeframe,
    )
    return RecordedMarket(list(selection.recordings.values()), until_ms=choice.until_ms)
