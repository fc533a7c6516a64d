"""The flags that several commands have, and the settings that they give."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from backend import logs, settings
from domain.market import FURTHEST

State = Annotated[Optional[Path], typer.Option(help="State folder.")]  # noqa: UP045 - typer reads it
Data = Annotated[Optional[Path], typer.Option(help="Folder of recorded candles.")]  # noqa: UP045
Text = Annotated[Optional[str], typer.Option()]  # noqa: UP045
Exchanges = Annotated[Optional[str], typer.Option(help="ccxt id, or several: binance,kraken")]  # noqa: UP045
Symbols = Annotated[Optional[str], typer.Option(help="BTC/USDT,kraken:BTC/USD")]  # noqa: UP045
Timeframes = Annotated[Optional[str], typer.Option(help="1m,1h")]  # noqa: UP045
Horizons = Annotated[Optional[str], typer.Option(help="In candles: 4,24")]  # noqa: UP045
Comments = Annotated[Path, typer.Argument(help="Parquet with the columns text and label.")]
Job = Annotated[str, typer.Argument(metavar="ID", help="As `jobs list` spells it.")]
KeyId = Annotated[str, typer.Argument(metavar="ID", help="As `keys list` spells it.")]
Named = Annotated[str, typer.Argument(help="EXCHANGE:SYMBOL, or a symbol of each exchange.")]
Version = Annotated[str, typer.Argument(help="NAME@VERSION, or NAME for the newest.")]
Horizon = Annotated[Optional[int], typer.Option(min=1, max=FURTHEST, help="In candles.")]  # noqa: UP045
Port = Annotated[Optional[int], typer.Option(help="Port; 0 lets the system choose.")]  # noqa: UP045


RoomNames = Annotated[str, typer.Option(help="all, or some of: collectors,panels,api")]


def settings_of(**flags: object) -> settings.Settings:
    """The settings in force, and the log as they have it."""
    in_force = settings.load(flags)
    logs.configure(level=in_force.log_level)
    return in_force
