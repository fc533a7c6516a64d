"""Features to predictions: the pool answers on the hot path, the rest is heard afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from domain.codec import pack, unpack
from domain.events import (
    Bools,
    FeatureBatch,
    Floats,
    Ints,
    LabelBatch,
    PredictionBatch,
    Role,
    Skill,
    Target,
)
from domain.losses import BASELINE_NAMES
from domain.market import Hole, Instrument, Timeframe, to_ms
from domain.past import Past
from domain.ports import Clock, Model, Sequential
from services.predictions.beside import Beside, candles_of
from services.predictions.calibration import Recalibration
from services.predictions.composition import SCALED, Composition, Seat, members_version
from services.predictions.conformal import ConformalQuantiles
from services.predictions.dissimilarity import dissimilarities, farthest
from services.predictions.memory import Memory, Said
from services.predictions.recent import Recent, past_of
from services.predictions.rows import Row, Standing, prediction
from services.predictions.soundness import Broken, complete, unsound

STALE_HORIZONS = 3  # since the newest close that was judged; 1 is as it should be
TARGETS = (Target.DIRECTION, Target.QUANTILES, Target.VOLATILITY)
_SERVED_BASELINE = "served.baseline.quantiles"  # kept to steer its own interval, not a member
_RAW = "raw.direction"  # the pool before calibration, which is what the calibrator learns from


@dataclass(frozen=True, slots=True, kw_only=True)
class _Blend:
    """One tick's pooled and baseline forecasts, and who was asked for them."""

    asked: Mapping[Target, list[str]]
    pooled: Mapping[Target, Floats]
    baseline: Mapping[Target, Floats]


class Predictor:
    """Everything that is served for one (exchange, timeframe, horizon)."""

    def __init__(self, *, exchange: str, timeframe: Timeframe, horizon: int, clock: Clock) -> None:
        self.recent = Recent(timeframe)
        self.beside = Beside(timeframe)
        self.exchange, self.timeframe, self.horizon = exchange, timeframe, horizon
        self._clock = clock
        self._compositions = {
            target: Composition(target, timeframe=timeframe, horizon=horizon) for target in TARGETS
        }
        self._calibration = Recalibration(horizon=horizon)
        self._intervals = {
            name: ConformalQuantiles(horizon=horizon) for name in ("pool", "baseline")
        }
        self._memory = Memory(horizon=horizon)
        self._answered: tuple[dict[str, Floats], Standing] | None = None  # of the newest batch
        self._pools: set[Target] = set()  # that have shown enough to be served
        self._unsound: list[Broken] = []
        self._drifting: set[Target] = set()  # whose losses rose, and who was not fitted since
        self._judged_ms = 0  # newest close whose label is known
        self._gaps: Mapping[Instrument, Sequence[Hole]] = {}
        self._first_ms: dict[Instrument, int] = {}
        self._firsts: tuple[tuple[Instrument, ...], Ints] = ((), np.empty(0, dtype=np.int64))

    def on_gaps(self, gaps: Mapping[Instrument, Sequence[Hole]]) -> None:
        """From now on these candles are missing and may still come."""
        self._gaps = gaps

    def begins(self, instrument: Instrument, first: datetime) -> None:
        """The features of an instrument rest on its candles from the close `first` on."""
        first_ms = to_ms(first)
        self._first_ms[instrument] = min(first_ms, self._first_ms.get(instrument, first_ms))
        self._firsts = ((), np.empty(0, dtype=np.int64))

    def seat(self, model: Model, role: Role) -> None:
        """Give `model` the role of member or challenger, replacing its earlier version."""
        self._compositions[model.target].take(Seat(model=model, role=role))
        (self.beside.recent if candles_of(model) else self.recent).expect(past_of(model))

    def waits_for(self, candles: str) -> bool:
        """Whether a forecast of the hot path reads this set."""
        seats = self.seats()
        hot = (name for composition in self._compositions.values() for name in composition.hot())
        return any(candles_of(seats[name].model) == candles for name in hot if name in seats)

    def vacate(self, target: Target, name: str) -> None:
        """Take a model from its seat, or off its trial."""
        self._compositions[target].vacate(name)

    def broken(self) -> tuple[Broken, ...]:
        """Who gave no forecast and lost its place for it; each is told once."""
        found, self._unsound = tuple(self._unsound), []
        return found

    def seats(self) -> dict[str, Seat]:
        """Who sits where; a challenger's place is not its name."""
        return {n: seat for c in self._compositions.values() for n, seat in c.seats.items()}

    def weights(self) -> dict[str, float]:
        """Pool weights by model name."""
        return {n: w for c in self._compositions.values() for n, w in c.weight_of().items()}

    def seed_weights(self, target: Target, weights: Mapping[str, float]) -> None:
        self._compositions[target].pool.seed(weights)

    def on_features(self, batch: FeatureBatch) -> Iterable[PredictionBatch]:
        """The hot path: the votes of the direction members, then the served rows."""
        hot = [name for composition in self._compositions.values() for name in composition.hot()]
        forecasts = self._ask(hot, batch)
        blend = self._blend(forecasts)
        standing = self._standing(batch)
        distances = self._distances(hot, batch)
        forecasts |= {f"pool.{target}": blend.pooled[target] for target in TARGETS}
        self._answered = forecasts, standing
        self._memory.keep(
            to_ms(batch.as_of), Said(instruments=batch.instruments, forecasts=forecasts)
        )
        self.recent.keep(batch)
        for name in blend.asked[Target.DIRECTION]:
            yield self._row(batch, name, forecasts[name], standing, distances)
        yield self._champion(batch, blend, standing, distances)

    def on_features_published(self, batch: FeatureBatch) -> Iterable[PredictionBatch]:
        """After publishing: the rows of members, pools and challengers.

        What the served rows were composed of was made with them, and has their origin; the
        others are made now.

        Args:
            batch: the one that `on_features` answered last: a tick, or what came late for it.

        Raises:
            ValueError: nothing was answered.
        """
        if self._answered is None:
            raise ValueError("nothing was answered")
        said, then = self._answered
        rest = self._ask([name for name in self.seats() if name not in said], batch)
        self._memory.keep(to_ms(batch.as_of), Said(instruments=batch.instruments, forecasts=rest))
        now = self._standing(batch)
        distances = self._distances(self.seats(), batch)
        voted = set(self._compositions[Target.DIRECTION].seats) & set(said)
        for name, values in (said | rest).items():
            if name not in voted and name not in (_RAW, _SERVED_BASELINE):
                standing = then if name in said else now
                yield self._row(batch, name, values, standing, distances)

    def on_labels(self, labels: LabelBatch) -> Iterable[PredictionBatch]:
        """Weigh members, calibrate and move the intervals by what has come true."""
        if labels.horizon != self.horizon:
            return ()
        self._judged_ms = max(
            self._judged_ms, int(labels.as_of_ms[labels.known_ms > 0].max(initial=0))
        )
        for said, positions in self._memory.judged_by(labels):
            judged = labels.take(positions)
            scale = said["ewma.volatility"]
            for composition in self._compositions.values():
                composition.learn(said, judged, scale)
            self._calibration.learn(said[_RAW], judged.outcome)
            self._intervals["pool"].learn(said["pool.quantiles"], judged.log_return)
            self._intervals["baseline"].learn(said[_SERVED_BASELINE], judged.log_return)
        return ()

    def on_skill(self, skill: Skill) -> Iterable[PredictionBatch]:
        """The gate's verdict, obeyed from the next tick on."""
        if skill.horizon == self.horizon:
            if skill.no_skill:
                self._pools.discard(skill.target)
            else:
                self._pools.add(skill.target)
        return ()

    def on_drift(self, target: Target) -> None:
        """The losses of a target's pool have risen: rows say so until it is fitted again."""
        self._drifting.add(target)

    def on_fitted(self) -> None:
        """What served has been fitted again."""
        self._drifting.clear()

    def _ask(self, names: Sequence[str], batch: FeatureBatch) -> dict[str, Floats]:
        """Forecasts of those who sit there; who gives none loses its place at once.

        Baselines are what is left where nobody is, and stay.
        """
        seats, forecasts = self.seats(), dict[str, Floats]()
        read = {name: self.beside.read_by(seats[name].model, batch) for name in names}
        there = {id(rows): rows for rows in read.values() if rows is not None}  # one or two
        known = {key: complete(rows) for key, rows in there.items()}
        past = self._before([(seats[name].model, read[name]) for name in names])
        for name, rows in read.items():
            if rows is None:  # it is asked once they are made
                continue
            model, role, before = seats[name].model, seats[name].role, past.get(id(rows))
            if before is not None and isinstance(model, Sequential) and model.past:
                forecast = model.predict_after(rows, before)
            else:
                forecast = model.predict(rows)
            seen = known[id(rows)]
            words = None if name in BASELINE_NAMES else unsound(model.target, forecast, seen)
            if words is None:
                forecasts[name] = forecast
                continue
            self.vacate(model.target, model.name)
            self._unsound.append(
                Broken(
                    target=model.target,
                    name=model.name,
                    version=model.version,
                    role=role,
                    words=words,
                )
            )
        return forecasts

    def _before(self, asked: Sequence[tuple[Model, FeatureBatch | None]]) -> dict[int, Past]:
        """What was before the rows of a batch, by its id, where one that is asked reads it."""
        found: dict[int, Past] = {}
        for model, rows in asked:
            if rows is not None and past_of(model) and id(rows) not in found:
                recent = self.beside.recent if candles_of(model) else self.recent
                found[id(rows)] = recent.before(rows)
        return found

    def _serves(self, target: Target) -> bool:
        """Whether the pool answers. Of direction it has to be more than its prior."""
        led = target is not Target.DIRECTION or self._compositions[target].led()
        return led and target in self._pools

    def _blend(self, forecasts: dict[str, Floats]) -> _Blend:
        """Pool each target; adds to `forecasts` what learning needs beside the members."""
        asked = {
            target: [name for name in composition.hot() if name in forecasts]
            for target, composition in self._compositions.items()
        }
        base = {t: forecasts[c.baseline()] for t, c in self._compositions.items()}
        ewma = forecasts["ewma.volatility"]
        base[Target.VOLATILITY] = np.where(
            np.isfinite(base[Target.VOLATILITY]), base[Target.VOLATILITY], ewma
        )
        pooled = {
            target: self._compositions[target].blend({n: forecasts[n] for n in asked[target]})
            for target in (Target.DIRECTION, Target.VOLATILITY)
        }
        with np.errstate(invalid="ignore", divide="ignore"):
            forecasts[SCALED] = base[Target.QUANTILES] * (pooled[Target.VOLATILITY] / ewma)[:, None]
        asked[Target.QUANTILES].append(SCALED)
        quantiles = self._compositions[Target.QUANTILES].blend(
            {n: forecasts[n] for n in asked[Target.QUANTILES]}
        )
        pooled[Target.QUANTILES] = self._intervals["pool"].apply(
            quantiles, pooled[Target.VOLATILITY]
        )
        base[Target.QUANTILES] = self._intervals["baseline"].apply(base[Target.QUANTILES], ewma)
        forecasts[_SERVED_BASELINE] = base[Target.QUANTILES]
        forecasts[_RAW] = pooled[Target.DIRECTION]
        pooled[Target.DIRECTION] = self._calibration.apply(pooled[Target.DIRECTION])
        return _Blend(asked=asked, pooled=pooled, baseline=base)

    def _distances(self, names: Iterable[str], batch: FeatureBatch) -> dict[str, Floats]:
        """By the name of the seat, of those whose model was fitted."""
        seats = self.seats()
        here = {name: seats[name].model for name in names if name in seats}
        return dissimilarities(
            here, {name: self.beside.read_by(one, batch) for name, one in here.items()}
        )

    def _champion(
        self,
        batch: FeatureBatch,
        blend: _Blend,
        standing: Standing,
        distances: Mapping[str, Floats],
    ) -> PredictionBatch:
        members: dict[str, str] = {}
        values = {}
        for target, composition in self._compositions.items():
            serves = self._serves(target)
            names = blend.asked[target] if serves else [composition.baseline()]
            members |= composition.versions(names)
            pooled, base = blend.pooled[target], blend.baseline[target]
            known = np.isfinite(pooled if pooled.ndim == 1 else pooled.sum(axis=1))
            rows = known if pooled.ndim == 1 else known[:, None]
            values[target] = np.where(rows, pooled, base) if serves else base
        row = Row(
            model="served",
            target=Target.SERVED,
            probabilities=values[Target.DIRECTION],
            quantiles=values[Target.QUANTILES],
            volatility=values[Target.VOLATILITY],
        )
        return prediction(
            batch,
            row,
            self.horizon,
            role=Role.CHAMPION,
            members=members,
            standing=standing,
            dissimilarity=farthest(distances[name] for name in members if name in distances),
        )

    def _standing(self, batch: FeatureBatch) -> Standing:
        as_of_ms = to_ms(batch.as_of)
        bars = (as_of_ms - self._first(batch.instruments, as_of_ms)) // self.timeframe.ms + 1
        return Standing(
            made_at=max(self._clock.now(), batch.known_at),  # no sooner than its candles
            bars=bars,
            no_skill=tuple(f"no_skill.{t}" for t in TARGETS if not self._serves(t)),
            stale=self._is_stale(as_of_ms),
            drifts=bool(self._drifting),
            broken=self._broken(batch) if self._gaps else None,
        )

    def _is_stale(self, as_of_ms: int) -> bool:
        """Whether nothing has come true for so long that nobody learns any more."""
        limit_ms = STALE_HORIZONS * self.horizon * self.timeframe.ms
        return bool(self._judged_ms) and as_of_ms - self._judged_ms > limit_ms

    def _broken(self, batch: FeatureBatch) -> Bools:
        """Whose features lack candles that may still come."""
        end_ms = to_ms(batch.as_of) - self.timeframe.ms  # its own candle is there
        begin_ms = end_ms - batch.feature_set.warmup_bars * self.timeframe.ms
        spans = [self._gaps.get(instrument, ()) for instrument in batch.instruments]
        return np.array([any(a < end_ms and b > begin_ms for a, b in each) for each in spans])

    def _first(self, instruments: tuple[Instrument, ...], as_of_ms: int) -> Ints:
        """When each was first seen; one tick's instruments are mostly the next one's."""
        if instruments != self._firsts[0]:
            first = [self._first_ms.setdefault(one, as_of_ms) for one in instruments]
            self._firsts = (instruments, np.array(first, dtype=np.int64))
        return self._firsts[1]

    def _pool_version(self, target: Target) -> str:
        composition = self._compositions[target]
        return members_version(composition.versions(composition.hot()))

    def _row(
        self,
        batch: FeatureBatch,
        name: str,
        values: Floats,
        standing: Standing,
        distances: Mapping[str, Floats],
    ) -> PredictionBatch:
        target = Target(name.rpartition(".")[2])
        seat = self._compositions[target].seats.get(name)
        rows = self.beside.read_by(seat.model, batch) if seat else None
        return prediction(
            rows or batch,
            Row.of(seat.model.name if seat else name, target, values),
            self.horizon,
            role=seat.role if seat else Role.MEMBER,
            version=seat.model.version if seat else self._pool_version(target),
            standing=standing,
            dissimilarity=distances.get(name),
        )

    def snapshot(self) -> bytes:
        return pack(
            {
                "pools": {t: c.pool.state() for t, c in self._compositions.items()},
                "calibration": self._calibration.state(),
                "intervals": {name: i.state() for name, i in self._intervals.items()},
                "memory": self._memory.state(),
                "first_ms": {str(i): ms for i, ms in self._first_ms.items()},
                "serving": sorted(self._pools),
                "drifting": sorted(self._drifting),
                "judged_ms": self._judged_ms,
            }
        )

    def restore(self, state: bytes) -> None:
        document: dict[str, Any] = unpack(state)
        for target, composition in self._compositions.items():
            composition.pool.restore(document["pools"][target])
        self._calibration.restore(document["calibration"])
        for name, interval in self._intervals.items():
            interval.restore(document["intervals"][name])
        self._memory.restore(document["memory"])
        self._first_ms = {Instrument.parse(t): ms for t, ms in document["first_ms"].items()}
        self._firsts = ((), np.empty(0, dtype=np.int64))
        # Snapshots of earlier builds do not say it: baselines serve until a block closes.
        self._pools = {Target(text) for text in document.get("serving", ())}
        self._drifting = {Target(text) for text in document.get("drifting", ())}
        self._judged_ms = document.get("judged_ms", 0)
