"""What a choice of series will cost, and when it tells more than its baselines."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from backend.training_settings import TrainingSettings
from domain.market import Horizon, from_ms, to_ms
from services.models.walk_forward import HOLDOUT
from services.scores.blocks import HORIZONS_PER_BLOCK, block_ms
from services.scores.gate import FEWEST_BLOCKS

MONTH: Final = timedelta(days=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """The first moments of a panel at one horizon; each is a close."""

    first: datetime  # prediction, of the baselines
    fit: datetime  # that begins then: enough labels are known
    begun: datetime  # not degraded from here where a model began at the first fit
    lived: datetime  # not degraded from here where none did, direction aside


def outlook(
    horizon: Horizon, *, start: datetime, bars: int, instruments: int, training: TrainingSettings
) -> Outlook:
    """The soonest moments, by the rules of the trainer and the gate.

    The gate judges whole blocks of twice the horizon, each when the label after its end is
    known, and is obeyed at the next close. It wants FEWEST_BLOCKS of them; the last fifth of
    the first fit's rows stands in where a model began with it.

    Args:
        horizon: of the predictions.
        start: when history is loaded.
        bars: candles of history of each instrument.
        instruments: of the panel.
        training: the settings.
    """
    step = horizon.timeframe.ms
    first_ms = to_ms(horizon.timeframe.open_of(start)) + step
    missing = -(-training.minimum_rows // instruments) - (bars - horizon.steps)
    fit_ms = first_ms + max(missing, 0) * step
    rows = bars + (fit_ms - first_ms) // step - horizon.steps
    rehearsed = int(HOLDOUT * rows) // (HORIZONS_PER_BLOCK * horizon.steps)
    effective_ms = fit_ms + training.delay_bars * step
    lived_ms = _obeyed_ms(horizon, first_ms, FEWEST_BLOCKS)
    begun_ms = _obeyed_ms(horizon, first_ms, max(FEWEST_BLOCKS - rehearsed, 1))
    while begun_ms <= effective_ms:
        begun_ms += block_ms(horizon)
    return Outlook(
        first=from_ms(first_ms),
        fit=from_ms(fit_ms),
        begun=from_ms(min(begun_ms, lived_ms)),
        lived=from_ms(lived_ms),
    )


def _obeyed_ms(horizon: Horizon, first_ms: int, blocks: int) -> int:
    """The close from which a verdict on so many blocks is obeyed."""
    length, step = block_ms(horizon), horizon.timeframe.ms
    begun = first_ms % length
    if 2 * (length - begun) < length:  # of a block less than half would have been lived
        blocks += 1
    return first_ms - begun + blocks * length + (horizon.steps + 1) * step
