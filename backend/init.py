"""`alphapulse init`: asks what to watch, writes the settings, and says what that will take."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

import typer

from backend import settings as in_force
from backend.clock import SystemClock
from backend.durations import names
from backend.exchanges import opened
from backend.outlook import outlook
from backend.settings import SETTINGS_FILE, Settings
from backend.settings_file import annotated
from backend.store.growth import expected
from backend.symbols import asked_of, listed, refuse_strangers, refuse_unlisted
from backend.training_settings import TrainingSettings
from collectors.allowance import Allowance, allowance
from collectors.polling import lines
from domain.errors import ExchangeError, UnknownSymbolError, UsageError
from domain.market import Horizon, Timeframe, rfc3339
from services.scores.gate import FEWEST_BLOCKS

EXCHANGES = ("binance",)
SYMBOLS = ("BTC/USDT", "ETH/USDT")

WHY = (
    f"Until then baselines serve, and `degraded` names no_skill: a verdict takes {FEWEST_BLOCKS} "
    "blocks of two horizons, lived or of the holdout of a fitted model that beats its baseline. "
    "Volatility and quantiles need not prove more; direction has to prove its skill, and on a "
    "real market it may never."
)

T = TypeVar("T")
Given = Mapping[str, Sequence[object]]  # of the settings `watch.*`, those with a flag


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What is going to be watched, and what its exchanges allow.

    Args:
        settings: with what was chosen.
        allowances: by exchange.
        instruments: how many are watched on each.
        silent: those that did not answer.
    """

    settings: Settings
    allowances: Mapping[str, Allowance]
    instruments: Mapping[str, int]
    silent: Collection[str] = ()


async def write_settings(given: Given, *, force: bool) -> None:
    """Ask for what is not given, write alphapulse.toml, and print what it means.

    Where there is no terminal nobody is asked: the default is taken.

    Raises:
        UsageError: the file is there already, or what a flag says cannot be.
    """
    if SETTINGS_FILE.exists() and not force:
        raise UsageError(
            f"{SETTINGS_FILE} is there already; --force writes it anew and keeps what it sets"
        )
    chosen = await _chosen(given, in_force.load())
    table = in_force.table()
    watch = chosen.settings.watch.model_dump(mode="json")
    SETTINGS_FILE.write_text(annotated(table | {"watch": watch}), encoding="utf-8")
    _say(f"{SETTINGS_FILE} written: `alphapulse run` follows what it says")
    for line in prospects(chosen, SystemClock().now()):
        _say(line)


async def _chosen(given: Given, settings: Settings) -> Chosen:
    """Each answer is tried as `run` would; one that cannot be is asked for again."""
    watch = settings.watch

    async def timeframes(names: Sequence[object]) -> dict[str, Allowance]:
        wanted = [Timeframe.parse(str(name)) for name in names]
        asked = {str(one): asked_of(str(one), map(str, symbols)) for one in exchanges}
        return {one: await allowance(one, each[0], wanted) for one, each in asked.items()}

    async def known(names: Sequence[object]) -> None:
        for one in names:
            await allowance(str(one), SYMBOLS[0])

    async def there(names: Sequence[object]) -> tuple[dict[str, int], set[str]]:
        return await _listed([str(one) for one in exchanges], [str(one) for one in names], settings)

    async def ahead(names: Sequence[object]) -> None:
        in_force.load({"watch": {"horizons": list(names)}})

    exchanges, _ = await _answer("exchanges", given, watch.exchanges or EXCHANGES, known)
    symbols, (instruments, silent) = await _answer(
        "symbols", given, watch.symbols or SYMBOLS, there
    )
    lengths, allowances = await _answer("timeframes", given, watch.timeframes, timeframes)
    horizons, _ = await _answer("horizons", given, watch.horizons, ahead)
    answers = {
        "exchanges": list(exchanges),
        "symbols": list(symbols),
        "timeframes": list(lengths),
        "horizons": list(horizons),
    }
    return Chosen(
        settings=in_force.load({"watch": answers}),
        allowances=allowances,
        instruments=instruments,
        silent=silent,
    )


async def _answer(
    name: str,
    given: Given,
    default: Sequence[object],
    check: Callable[[Sequence[object]], Awaitable[T]],
) -> tuple[Sequence[object], T]:
    """What is given, else what somebody at the terminal says, else the default; and its check."""
    if name in given or not sys.stdin.isatty():
        chosen = given.get(name, default)
        if not chosen:
            raise UsageError(f"--{name}: none is named")
        return chosen, await check(chosen)
    question = in_force.WatchSettings.model_fields[name].description
    while True:
        text = await asyncio.to_thread(
            typer.prompt, f"{name} ({question})", default=",".join(map(str, default))
        )
        try:
            said = names(text) or []
            return said, await check(said)
        except UsageError as error:
            typer.echo(str(error), err=True)


async def _listed(
    exchange_ids: Sequence[str], names: Sequence[str], settings: Settings
) -> tuple[dict[str, int], set[str]]:
    """How many of the symbols each exchange lists; all, where it is silent; and who is.

    Raises:
        UsageError: nobody lists one of them, or one exchange none.
    """
    refuse_strangers(names, exchange_ids)
    lacking: dict[str, dict[str, UnknownSymbolError]] = {}
    counts: dict[str, int] = {}
    silent = set()
    for one in exchange_ids:
        asked = asked_of(one, names)
        exchange = opened(one, settings, budget=None)
        try:
            found, lacking[one] = await listed(exchange, asked)
        except ExchangeError as error:
            typer.echo(f"{one} cannot be asked for its symbols: {error}", err=True)
            counts[one], lacking[one] = len(asked), {}
            silent.add(one)
        else:
            counts[one] = len(found)
        finally:
            await exchange.close()
    refuse_unlisted(names, lacking)
    for one, count in counts.items():
        if not count:
            raise UsageError(f"{one} lists none of {', '.join(names)}")
    return counts, silent


def prospects(chosen: Chosen, now: datetime) -> Iterator[str]:
    """What the settings will take, in lines for people."""
    settings = chosen.settings
    longest = timedelta(0)
    for exchange_id, allowed in chosen.allowances.items():
        instruments = chosen.instruments[exchange_id]
        took, line = _backfill(exchange_id, allowed, instruments, settings)
        longest = max(longest, took)
        yield line
        if allowed.bars(settings.history_bars) < settings.history_bars:
            yield (
                f"{exchange_id} serves the newest {allowed.newest} candles of a series, "
                f"not {settings.history_bars}: the rest is unfillable, and models train on "
                "those and on what comes"
            )
        polled = _polled(allowed, settings)
        yield from lines(exchange_id, polled, instruments=instruments, cost=allowed.cost)
    yield _growth(settings, sum(chosen.instruments.values()))
    for exchange_id, allowed in chosen.allowances.items():
        bars = allowed.bars(settings.history_bars)
        for timeframe in settings.watch.timeframes:
            for steps in settings.watch.horizons:
                horizon = Horizon(timeframe, steps)
                about = _first(
                    horizon,
                    bars=bars,
                    start=now + longest,
                    instruments=chosen.instruments[exchange_id],
                    training=settings.training,
                )
                if exchange_id in chosen.silent:
                    about = f"{about}; later by as long as it does not answer"
                yield f"{exchange_id} {about}"
    yield WHY


def _polled(allowed: Allowance, settings: Settings) -> list[Timeframe]:
    """The timeframes that are asked for as they close."""
    build = settings.build
    return [one for one in allowed.polled if not (build.from_trades or one in build.rolled_up)]


def _backfill(
    exchange_id: str, allowed: Allowance, instruments: int, settings: Settings
) -> tuple[timedelta, str]:
    series = instruments * len(settings.watch.timeframes)
    requests = series * allowed.requests(settings.history_bars)
    took = requests * allowed.cost
    return took, (
        f"{exchange_id}: the backfill asks {requests} times for at most {allowed.page} candles, "
        f"which takes at least {_minutes(took)} at the pace that it allows"
    )


def _minutes(took: timedelta) -> str:
    minutes = took.total_seconds() / 60
    return f"{minutes:.1f} minutes" if minutes >= 0.1 else "a few seconds"  # noqa: PLR2004


def _growth(settings: Settings, instruments: int) -> str:
    watch = settings.watch
    growth = expected(
        [(timeframe, instruments) for timeframe in watch.timeframes], horizons=len(watch.horizons)
    )
    return (
        f"the database grows by about {growth.gb_per_month:.2f} GB per month: "
        f"{growth.candles:.0f} candles of {growth.candle_bytes / 1000:.0f} kB each with what is "
        "said of them, as measured in the demo (`alphapulse doctor` measures yours); texts and "
        "captured frames come on top"
    )


def _first(
    horizon: Horizon, *, bars: int, start: datetime, instruments: int, training: TrainingSettings
) -> str:
    soon = outlook(horizon, start=start, bars=bars, instruments=instruments, training=training)
    return (
        f"{horizon.timeframe}, {horizon.steps} candles ahead: first prediction "
        f"{_close(soon.first)}, first fit {_close(soon.fit)}, not degraded {_close(soon.begun)} "
        f"at the soonest, {_close(soon.lived)} without a fitted model"
    )


def _close(moment: datetime) -> str:
    return rfc3339(moment)[:16] + "Z"


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
