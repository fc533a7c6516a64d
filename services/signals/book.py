"""The life of a signal: entered at the next open, until a barrier, its expiry, or a withdrawal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from domain.events import Candle, CandleBatch, Signal, SignalBatch
from domain.market import Instrument, Listing, from_ms, on_grid, to_ms
from services.signals.policy import PolicySettings


class SignalBook:
    """Signals that are not closed yet, for one (exchange, timeframe, horizon).

    Prices follow the candles: fill at the open of the first candle after the decision,
    the stop before the take where one candle touches both, at the open where it gaps
    through a barrier, and at the close when the horizon has passed.
    """

    def __init__(
        self,
        *,
        horizon: int,
        settings: PolicySettings,
        listings: Mapping[Instrument, Listing] | None = None,
    ) -> None:
        self.horizon = horizon
        self._settings = settings
        self._listings = dict(listings or {})
        self._open: dict[tuple[Instrument, int], Signal] = {}
        self._answered_ms = 0  # newest close that these were taken through before

    def enlist(self, listing: Listing) -> None:
        """Learn an instrument's tick size."""
        self._listings[listing.instrument] = listing

    def recall(self, signals: Iterable[Signal], *, answered: datetime | None) -> None:
        """Go on from the record, whatever candles say now of what it has answered.

        Args:
            signals: that are open by it; others are let go.
            answered: the newest close that they were taken through; None: there is none.
        """
        self._open = {(one.instrument, one.as_of_ms): one for one in signals}
        self._answered_ms = to_ms(answered) if answered else 0

    def on_signals(self, batch: SignalBatch) -> Iterable[SignalBatch]:
        """Take up the signals that were opened and are not flat."""
        if batch.event == "opened":
            for signal in batch.signals:
                if signal.horizon == self.horizon and signal.side != "flat":
                    self._open[signal.instrument, signal.as_of_ms] = signal
        return ()

    def on_candles(self, batch: CandleBatch) -> Iterable[SignalBatch]:
        """Fill and close open signals by the candles of one tick."""
        if not self._open or to_ms(batch.as_of) <= self._answered_ms:
            return
        changed: dict[str, list[Signal]] = {"updated": [], "closed": []}
        rows = {instrument: row for row, instrument in enumerate(batch.instruments)}
        for key, signal in list(self._open.items()):
            row = rows.get(signal.instrument)
            if row is None or signal.as_of_ms >= to_ms(batch.as_of):
                continue
            after = self._step(signal, batch, row)
            if after == signal:
                continue
            closed = after.status not in ("pending", "active")
            changed["closed" if closed else "updated"].append(after)
            if closed:
                del self._open[key]
            else:
                self._open[key] = after
        for event, signals in changed.items():
            if signals:
                yield _batch(batch, event, signals)

    @property
    def instruments(self) -> set[Instrument]:
        """Whose signals are open."""
        return {instrument for instrument, _ in self._open}

    def leave(self, last: Candle, *, at: datetime) -> Iterable[SignalBatch]:
        """Withdraw what is open of an instrument that is followed no more.

        Args:
            last: its newest candle; what was entered is left at its close.
            at: when it left.
        """
        left = [one for one in self._open.values() if one.instrument == last.instrument]
        closed = []
        for signal in left:
            del self._open[signal.instrument, signal.as_of_ms]
            ended = replace(signal, status="withdrawn", closed_ms=to_ms(at))
            closed.append(ended if signal.entry_price is None else self._out(ended, last.close))
        if closed:
            yield SignalBatch(
                exchange=last.instrument.exchange,
                timeframe=last.timeframe,
                as_of=from_ms(last.close_ms),
                instruments=tuple(signal.instrument for signal in closed),
                event="closed",
                signals=tuple(closed),
            )

    def _step(self, signal: Signal, batch: CandleBatch, row: int) -> Signal:
        close_ms = to_ms(batch.as_of)
        opened, high, low, close = (
            float(values[row]) for values in (batch.open, batch.high, batch.low, batch.close)
        )
        if signal.entry_price is None:
            if close_ms - batch.timeframe.ms >= signal.expires_ms:
                # No candle came within the horizon: it was never entered.
                return replace(signal, status="expired", closed_ms=close_ms)
            signal = self._enter(signal, opened)
        exit_price, status = _exit(signal, opened, high, low)
        if exit_price is None and close_ms >= signal.expires_ms:
            beyond = close_ms - batch.timeframe.ms >= signal.expires_ms
            exit_price, status = (opened if beyond else close), "expired"
        if exit_price is None or signal.entry_price is None:
            return signal
        return self._out(replace(signal, status=status, closed_ms=close_ms), exit_price)

    def _out(self, signal: Signal, price: float) -> Signal:
        """With what leaving at `price` made of it."""
        side = 1.0 if signal.side == "long" else -1.0
        gross = side * math.log(price / (signal.entry_price or math.nan))
        return replace(signal, exit_price=price, realized_return=gross - self._settings.round_trip)

    def _enter(self, signal: Signal, price: float) -> Signal:
        width = max(signal.sigma or 0.0, 2 * self._settings.round_trip)
        side = 1.0 if signal.side == "long" else -1.0
        listing = self._listings.get(signal.instrument)
        tick = listing.tick_size if listing else None
        stop, take = price * math.exp(-side * width), price * math.exp(side * width)
        return replace(
            signal,
            status="active",
            entry_price=on_grid(price, tick),
            # Away from the price, so that rounding never makes a stop tighter.
            stop=on_grid(stop, tick, math.floor if side > 0 else math.ceil),
            take=on_grid(take, tick),
        )


def _exit(signal: Signal, opened: float, high: float, low: float) -> tuple[float | None, str]:
    """Where a candle takes the signal out, the stop before the take; None where it does not."""
    if signal.stop is None or signal.take is None:
        return None, signal.status
    long = signal.side == "long"
    worst, best = (low, high) if long else (high, low)
    sign = 1.0 if long else -1.0
    if sign * (worst - signal.stop) <= 0:
        return (min(opened, signal.stop) if long else max(opened, signal.stop)), "stop_loss"
    if sign * (best - signal.take) >= 0:
        return (max(opened, signal.take) if long else min(opened, signal.take)), "take_profit"
    return None, signal.status


def _batch(candles: CandleBatch, event: str, signals: list[Signal]) -> SignalBatch:
    return SignalBatch(
        exchange=candles.exchange,
        timeframe=candles.timeframe,
        as_of=candles.as_of,
        instruments=tuple(signal.instrument for signal in signals),
        event=event,
        signals=tuple(signals),
    )
