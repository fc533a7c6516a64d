"""The command line: each command reads its flags and calls the one place that does it."""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Annotated, Optional

import typer

from backend import VERSION, subcommands
from backend.durations import duration, names, span, steps
from backend.exported import KINDS
from backend.flags import (
    Data,
    Exchanges,
    Horizons,
    Port,
    RoomNames,
    State,
    Symbols,
    Text,
    Timeframes,
    settings_of,
)
from backend.rooms import Room, rooms_of
from domain.errors import AlphaPulseError, UsageError
from domain.keys import masked
from domain.market import FURTHEST

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Streaming crypto market intelligence: candles to scored predictions to signals.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for name, group in subcommands.GROUPS.items():
    app.add_typer(group, name=name)


def _version(asked: bool) -> None:  # noqa: FBT001 - the shape of a callback
    if asked:
        typer.echo(f"alphapulse {VERSION}")
        raise typer.Exit


@app.callback()
def alphapulse(
    *,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the release."),
    ] = False,
) -> None:
    """Streaming crypto market intelligence: candles to scored predictions to signals."""
    del debug, version  # read by `main`, which prints the errors, and by `_version`


@app.command(epilog="Example: alphapulse demo --data ../shared/data/ohlcv --timeframes 1h")
def demo(  # noqa: PLR0913 - the flags of interface.md
    *,
    data: Data = None,
    exchange: Text = None,
    symbols: Text = None,
    timeframes: Text = None,
    horizons: Text = None,
    from_: Annotated[Optional[str], typer.Option("--from")] = None,  # noqa: UP045
    to: Text = None,
    speed: Annotated[
        float, typer.Option(min=0.01, max=1e9, help="Market seconds per second.")
    ] = 3600.0,
    seed: Annotated[int, typer.Option(min=0)] = 7,
    signal: Annotated[
        float, typer.Option(min=0, max=1e3, help="Planted signal; 0 turns it off.")
    ] = 1.0,
    port: Port = None,
    state: State = None,
    for_: Annotated[Optional[str], typer.Option("--for", help="Stop after, e.g. 120s.")] = None,  # noqa: UP045
) -> None:
    """Everything in one process against the simulated exchange."""
    from backend.demo import DemoPlan, run_demo  # noqa: PLC0415 - imports what it needs

    since, until = span(from_, to)
    plan = DemoPlan(
        data=data,
        exchange=exchange,
        symbols=names(symbols),
        timeframes=names(timeframes),
        horizons=steps(horizons),
        since=since,
        until=until,
        speed=speed,
        seed=seed,
        signal=signal,
        stop_after=duration(for_) if for_ else None,
    )
    asyncio.run(run_demo(plan, settings_of(port=port, state=state)))


@app.command(epilog="Example: alphapulse run --exchange kraken --symbols BTC/USD,ETH/USD")
def run(  # noqa: PLR0913 - the flags of interface.md
    *,
    exchange: Exchanges = None,
    symbols: Symbols = None,
    timeframes: Timeframes = None,
    horizons: Horizons = None,
    host: Text = None,
    port: Port = None,
    state: State = None,
    tls_cert: Annotated[Optional[Path], typer.Option(help="Certificates (PEM).")] = None,  # noqa: UP045
    tls_key: Annotated[Optional[Path], typer.Option(help="Private key (PEM).")] = None,  # noqa: UP045
    allow_no_keys: Annotated[bool, typer.Option("--allow-no-keys")] = False,
    rooms: RoomNames = "all",
) -> None:
    """The live system, on real exchanges; it never falls back to made-up data.

    What is not given is taken from the settings `watch.*`. With `--rooms api` a server beside a
    system that runs: the same page, REST and socket from the same database, on any machine.
    With `collectors` and `panels` too a system is several processes, on any number of machines.
    """
    from backend.apart import run_apart  # noqa: PLC0415 - imports what it needs
    from backend.live import run_live  # noqa: PLC0415
    from backend.replica import run_replica  # noqa: PLC0415

    watch = _watched(exchange, symbols, timeframes, horizons)
    files = {"tls_cert": tls_cert, "tls_key": tls_key}
    api = {name: path for name, path in files.items() if path is not None}
    in_force = settings_of(host=host, port=port, state=state, watch=watch, api=api)
    chosen = rooms_of(rooms)
    if chosen is None:
        asyncio.run(run_live(in_force, allow_no_keys=allow_no_keys))
    elif chosen == {Room.API}:
        asyncio.run(run_replica(in_force, allow_no_keys=allow_no_keys))
    else:
        asyncio.run(run_apart(in_force, chosen, allow_no_keys=allow_no_keys))


@app.command(
    epilog="Example: alphapulse replay --data ../shared/data/ohlcv --timeframe 1h --horizon 4 "
    "--report report.json"
)
def replay(  # noqa: PLR0913 - the flags of interface.md
    *,
    timeframe: Annotated[str, typer.Option()],
    horizon: Annotated[int, typer.Option(min=1, max=FURTHEST, help="Candles ahead.")],
    report: Annotated[Path, typer.Option(help="Where to write the report (JSON).")],
    data: Data = None,
    capture: Annotated[Optional[Path], typer.Option(help="Folder of captured frames.")] = None,  # noqa: UP045
    exchange: Text = None,
    symbols: Text = None,
    from_: Annotated[Optional[str], typer.Option("--from")] = None,  # noqa: UP045
    to: Text = None,
    seed: Annotated[int, typer.Option(min=0)] = 7,
    sentiment: Annotated[Optional[Path], typer.Option(help="What sources told.")] = None,  # noqa: UP045
    out: Annotated[Optional[Path], typer.Option(help="Folder for Parquet.")] = None,  # noqa: UP045
    state: State = None,
) -> None:
    """The same rooms over recorded candles, or captured frames, on a virtual clock."""
    from backend.replay import ReplayPlan, run_replay  # noqa: PLC0415 - imports what it needs

    folder = data or capture
    if folder is None or (data and capture):
        raise UsageError("replay takes a folder: --data of candles, or --capture of frames")
    since, until = span(from_, to)
    plan = ReplayPlan(
        data=folder,
        captured=capture is not None,
        exchange=exchange,
        symbols=names(symbols),
        timeframe=timeframe,
        horizon=horizon,
        since=since,
        until=until,
        seed=seed,
        report=report,
        out=out,
        sentiment=sentiment,
    )
    asyncio.run(run_replay(plan, settings_of(state=state)))


@app.command(epilog="Example: alphapulse exchange --seed 7 --port 9000 --speed 60")
def exchange(
    *,
    data: Data = None,
    seed: Annotated[int, typer.Option(min=0)] = 7,
    signal: Annotated[float, typer.Option(min=0, max=1e3)] = 1.0,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 lets the system choose.")] = 9000,
    speed: Annotated[float, typer.Option(min=0.01, max=1e9)] = 3600.0,
) -> None:
    """The simulated exchange alone, in Binance's dialect on loopback."""
    from backend.simulated import serve_exchange  # noqa: PLC0415 - imports what it needs

    raise typer.Exit(serve_exchange(data=data, seed=seed, signal=signal, port=port, speed=speed))


@app.command("import", epilog="Example: alphapulse import --data ../shared/data/ohlcv")
def import_(*, data: Annotated[Path, typer.Option()], state: State = None) -> None:
    """Recorded candles into the store; rejected rows are counted and listed."""
    from backend.transfer import import_candles  # noqa: PLC0415 - imports what it needs

    asyncio.run(import_candles(data, settings_of(state=state)))


@app.command(epilog="Example: alphapulse export predictions --out predictions.parquet")
def export(
    kind: Annotated[str, typer.Argument(help=", ".join(KINDS))],
    *,
    out: Annotated[Path, typer.Option(help="A .parquet or .csv file.")],
    from_: Annotated[Optional[str], typer.Option("--from")] = None,  # noqa: UP045
    to: Text = None,
    symbols: Text = None,
    state: State = None,
) -> None:
    """A table out of the store."""
    from backend.transfer import ExportPlan, export_table  # noqa: PLC0415 - imports what it needs

    since, until = span(from_, to)
    plan = ExportPlan(
        kind=kind,
        out=out,
        since=since,
        until=until,
        symbols=names(symbols),
    )
    asyncio.run(export_table(plan, settings_of(state=state)))


@app.command(epilog="Example: alphapulse init --exchange kraken --symbols BTC/USD,ETH/USD")
def init(
    *,
    exchange: Exchanges = None,
    symbols: Symbols = None,
    timeframes: Timeframes = None,
    horizons: Horizons = None,
    force: Annotated[bool, typer.Option("--force", help="Write an existing file anew.")] = False,
) -> None:
    """Ask what to watch, write an annotated alphapulse.toml, and say what that will take."""
    from backend.init import write_settings  # noqa: PLC0415 - imports what it needs

    watch = _watched(exchange, symbols, timeframes, horizons)
    asyncio.run(write_settings(watch, force=force))


@app.command(epilog="Example: alphapulse migrate")
def migrate(*, state: State = None) -> None:
    """Bring the database to the newest schema."""
    from backend.upkeep import migrate_store  # noqa: PLC0415 - imports what it needs

    asyncio.run(migrate_store(settings_of(state=state)))


@app.command(epilog="Example: alphapulse backup backups/2026-01-31")
def backup(*, folder: Annotated[Path, typer.Argument()], state: State = None) -> None:
    """Write the record and the models' files to a new folder; a system may run meanwhile.

    Settings, captured frames and what is below `ALPHAPULSE_*` are not part of it.
    """
    from backend.backup import back_up  # noqa: PLC0415 - imports what it needs

    asyncio.run(back_up(settings_of(state=state), folder))


@app.command(epilog="Example: alphapulse restore backups/2026-01-31 --verify --state new")
def restore(
    *,
    folder: Annotated[Path, typer.Argument()],
    verify: Annotated[
        bool, typer.Option("--verify", help="Count rows and recompute every chain.")
    ] = False,
    state: State = None,
) -> None:
    """Make an empty state folder, or an empty database of yours, what a backup has."""
    from backend.backup import restore as bring_back  # noqa: PLC0415 - imports what it needs

    raise typer.Exit(asyncio.run(bring_back(settings_of(state=state), folder, verify=verify)))


@app.command(epilog="Example: alphapulse doctor")
def doctor(*, state: State = None) -> None:
    """An executable checklist; exits 1 on any warning."""
    from backend.upkeep import check_health  # noqa: PLC0415 - imports what it needs

    raise typer.Exit(asyncio.run(check_health(settings_of(state=state))))


@app.command(epilog="Example: alphapulse verify")
def verify(
    *,
    heads: Annotated[
        Path | None, typer.Option(help="Heads kept elsewhere, that the log must go through.")
    ] = None,
    state: State = None,
) -> None:
    """Recompute every stream's hash chain, and compare predictions and signals with it.

    Names of each log the first offset that fails, and the first 20 rows that are not as published.
    """
    from backend.upkeep import verify_streams  # noqa: PLC0415 - imports what it needs

    raise typer.Exit(asyncio.run(verify_streams(settings_of(state=state), heads)))


@app.command(epilog="Example: alphapulse heads > heads-2026-01-31.jsonl")
def heads(*, state: State = None) -> None:
    """Print the last offset and hash of every stream: keep or publish them where nobody edits.

    `verify --heads FILE` then notices also events that were deleted together with their heads.
    """
    from backend.upkeep import print_heads  # noqa: PLC0415 - imports what it needs

    asyncio.run(print_heads(settings_of(state=state)))


@app.command("settings", epilog="Example: alphapulse settings")
def settings_(
    *,
    schema: Annotated[bool, typer.Option("--schema", help="The JSON Schema of the file.")] = False,
) -> None:
    """What is in force and where it comes from, secrets masked."""
    from backend import settings_file  # noqa: PLC0415 - imports what it needs

    if schema:
        typer.echo(settings_file.schema(), nl=False)
        return
    for name, value, origin in settings_file.in_force(settings_of()):
        typer.echo(f"{name} = {value}  ({origin})")


def _watched(
    exchange: str | None, symbols: str | None, timeframes: str | None, horizons: str | None
) -> dict[str, Sequence[object]]:
    """The flags that choose what is watched, as the setting `watch`."""
    given: dict[str, Sequence[object] | None] = {
        "exchanges": names(exchange),
        "symbols": names(symbols),
        "timeframes": names(timeframes),
        "horizons": steps(horizons),
    }
    return {name: value for name, value in given.items() if value is not None}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line: 0 done, 2 a usage error, 1 any other failure with one line.

    Args:
        arguments: of the command; None: those of the process.
    """
    given = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in given
    try:
        code = app(
            args=[one for one in given if one != "--debug"],
            prog_name="alphapulse",
            standalone_mode=False,
        )
    except (typer.Abort, KeyboardInterrupt):
        code = 130
    except asyncio.CancelledError:
        code = 143  # by SIGTERM
    except typer.TyperException as error:
        said = error.format_message()  # of a group without a command: its help
        typer.echo(said if said.startswith("Usage:") else f"alphapulse: {said}", err=True)
        code = 2
    except (AlphaPulseError, BaseExceptionGroup) as error:
        cause = _cause(error)
        if not isinstance(cause, AlphaPulseError):
            raise
        if debug:
            traceback.print_exc()
        typer.echo(masked(f"alphapulse: {cause}"), err=True)
        code = 2 if isinstance(cause, UsageError) else 1
    finally:
        if not debug:  # typer puts a hook of its own
            sys.excepthook = _one_line  # of what nobody foresaw; Python then exits with 1
    sys.exit(code or 0)


def _cause(error: BaseException) -> BaseException:
    """The first error within groups; of several, one that was raised on purpose."""
    while isinstance(error, BaseExceptionGroup):
        ours = error.subgroup(AlphaPulseError)
        error = (ours or error).exceptions[0]
    return error


def _one_line(kind: type[BaseException], error: BaseException, at: TracebackType | None) -> None:
    del kind, at
    cause = _cause(error)
    said = " ".join(str(cause).split())
    line = f"alphapulse: {type(cause).__name__}: {said} (--debug shows where)"
    typer.echo(masked(line), err=True)
