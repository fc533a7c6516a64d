"""Challenges in a real store: who is promoted, what a restart remembers, what the budget counts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alphapulse_testing.panel import HORIZON, HOUR_MS, MODEL_COLUMNS, panel_examples
from backend.learning.challenges import Challenges
from backend.learning.evidence import in_the_shadow
from backend.learning.seats import Seats
from backend.panel import Panel, PanelKey, SeatChange
from backend.store.registry import Decision, Seat
from backend.wiring import Store, open_store
from domain.events import LOSSES, ModelEvent, Origin, OutcomeBatch, Role, Target
from domain.market import Timeframe, from_ms, rfc3339, to_ms
from services.models.catalogue import BUILT_IN
from services.models.fitting import FitTask, fit
from services.models.walk_forward import SplitKind
from services.scores.promotion import attempt_alpha
from services.signals.policy import PolicySettings
from tests.doubles import ManualClock
from tests.integration.store_samples import INSTRUMENTS, at
from tests.integration.test_altered_artifacts import logistic
from tests.integration.test_store_registry import version

H1 = Timeframe.H1
BLOCK = 8  # closes, at a horizon of four
RIVER = "river.direction"
POOL, SEATED, ON_TRIAL = "pool.direction", "lightgbm.direction", "logistic.direction"
BEGUN = at(8)
LOOK_AT = [at(8 + blocks * BLOCK + HORIZON) for blocks in (30, 60, 90)]
NEXT = 103 * BLOCK  # where the first block after the third look begins


@pytest.fixture(scope="module")
def booster() -> bytes:
    """A whole artifact of a kind that is not logistic."""
    task = FitTask(
        recipe=BUILT_IN.recipes["lightgbm.direction"].changed(trees=2),
        horizon=HORIZON,
        horizon_ms=HORIZON * HOUR_MS,
        columns=MODEL_COLUMNS,
        examples=panel_examples(150),
        split=SplitKind.LEAN,
        seed=1,
    )
    return fit(task).artifact


def seat(name: str) -> Seat:
    return Seat(exchange="binance", timeframe=H1, horizon=4, target=Target.DIRECTION, name=name)


@dataclass
class Trial:
    """A panel that learns, beside the store that outlives it."""

    store: Store
    clock: ManualClock
    exchange: str = "binance"
    told: list[ModelEvent] = field(default_factory=list)

    async def start(self) -> None:
        """As a system does that starts: everything is read from the store."""
        self.panel = Panel(
            PanelKey(exchange=self.exchange, timeframe=H1),
            [4],
            clock=self.clock,
            policy=PolicySettings(),
        )
        self.seats = Seats(
            panel=self.panel,
            store=self.store,
            clock=self.clock,
            wall=self.clock,
            emit=self._hear,
        )
        self.challenges = Challenges(seats=self.seats)
        await self.seats.restore()
        await self.challenges.restore()

    def _hear(self, event: object) -> None:
        assert isinstance(event, ModelEvent)
        self.told.append(event)

    async def begin(self, moment: datetime = BEGUN) -> None:
        await self.challenges.begin(
            4, Target.DIRECTION, at=moment - timedelta(hours=1), effective_from=moment
        )

    async def look(self, moment: datetime) -> None:
        """What a tick does of what it makes due."""
        for one in self.challenges.due(moment):
            await self.challenges.look(one)
        self.panel.seat_due(moment + timedelta(hours=1))

    async def live(self, first: int, closes: int, **gains: float) -> None:
        """Outcomes of the pool and of those on trial, which gain so much over it on average."""
        rng = np.random.default_rng(first)
        pool = 1.0 + 0.1 * rng.normal(size=(closes, len(INSTRUMENTS)))
        said = {POOL: pool}
        for kind, gain in gains.items():
            spread = 0.02 * rng.normal(size=(closes, 1))
            said[f"{kind}.direction"] = pool - gain + spread - spread.mean()
        await self.write(first, said)

    async def write(
        self, first: int, said: Mapping[str, Any], origin: Origin = Origin.LIVE
    ) -> None:
        batches = [outcome(first, name, losses, origin) for name, losses in said.items()]
        await self.store.recorder.commit_learning(batches, published_at=at(0))

    async def record(self, name: str = POOL) -> list[tuple[str, int, int]]:
        """Verdict, look and attempt of the decisions about a challenge."""
        rows = await self.store.registry.decisions(seat(name))
        return [
            (row["verdict"], row["evidence"]["look"], row["evidence"]["attempt"])
            for row in rows
            if row["trigger"] == "challenge"
        ]

    def roles(self) -> dict[str, Role]:
        seats = self.panel.rooms[4].predictor.seats().values()
        names = {SEATED, ON_TRIAL, RIVER}
        return {one.model.name: one.role for one in seats if one.model.name in names}


def outcome(first: int, model: str, losses: Any, origin: Origin) -> OutcomeBatch:
    closes, count = losses.shape
    table = np.full((closes * count, len(LOSSES)), np.nan)
    table[:, LOSSES.index("log_loss")] = losses.ravel()
    return OutcomeBatch(
        exchange="binance",
        timeframe=H1,
        horizon=4,
        role=Role.MEMBER if model == POOL else Role.CHALLENGER,
        model=model,
        version="1",
        scored_at=at(first + closes + HORIZON),
        instruments=INSTRUMENTS * closes,
        as_of_ms=np.repeat([to_ms(at(first + i)) for i in range(closes)], count),
        revision=np.ones(closes * count, dtype=np.int64),
        origin=origin,
        losses=table,
    )


@pytest.fixture
async def trial(
    database_url: str, tmp_path: Path, manual_clock: ManualClock, booster: bytes
) -> AsyncIterator[Trial]:
    """One kind is seated, another and River are on trial."""
    async with open_store(database_url, tmp_path) as store:
        for name, artifact in ((SEATED, booster), (ON_TRIAL, logistic(0.1))):
            sha256 = store.artifacts.save(artifact)
            model = replace(version(), seat=seat(name), artifact_sha256=sha256)
            await store.registry.register(model)
        for name, verdict in ((SEATED, "cold_start"), (ON_TRIAL, "reject")):
            row = Decision(
                seat=seat(name),
                champion_version=None,
                challenger_version=1,
                verdict=verdict,
                trigger="cold_start",
                decided_at=at(7),
            )
            if name == SEATED:
                await store.registry.promote(row, effective_from=BEGUN)
            else:
                await store.registry.challenge(row)
        found = Trial(store, manual_clock)
        await found.start()
        await found.begin()
        yield found


async def test_a_better_challenger_takes_a_seat_at_the_close_after_the_look(trial: Trial) -> None:
    await trial.live(8, 300, logistic=0.05, river=0.0)
    early = trial.challenges.due(LOOK_AT[0] - timedelta(hours=1))

    await trial.look(LOOK_AT[0])

    assert early == ()
    assert trial.roles() == {SEATED: Role.MEMBER, ON_TRIAL: Role.MEMBER, RIVER: Role.CHALLENGER}
    assert await trial.store.registry.aliases(seat(ON_TRIAL)) == {"champion": 1}
    shown = await trial.store.registry.show(seat(ON_TRIAL), 1)
    assert shown is not None
    assert shown["effective_from"] == LOOK_AT[0] + timedelta(hours=1)
    *_, lifted = await trial.store.registry.decisions(seat(ON_TRIAL))
    looked_at = [lifted["evidence"][name] for name in ("first_as_of", "last_as_of")]
    assert looked_at == [rfc3339(BEGUN), rfc3339(BEGUN + timedelta(hours=30 * BLOCK - 1))]
    assert lifted["evidence"]["block_candles"] == BLOCK
    (told,) = trial.told
    assert (told.kind, told.model, told.version) == ("promoted", ON_TRIAL, "1")
    assert "(look 1, attempt 1)" in told.detail
    await trial.start()
    assert trial.roles()[ON_TRIAL] is Role.MEMBER


async def test_who_is_promoted_is_heard_like_the_best_member(trial: Trial) -> None:
    predictor = trial.panel.rooms[4].predictor
    predictor.seed_weights(Target.DIRECTION, {"class_prior.direction": 0.001, SEATED: 0.999})
    await trial.live(8, 300, logistic=0.05, river=0.0)

    await trial.look(LOOK_AT[0])

    weights = predictor.weights()
    assert weights[ON_TRIAL] == pytest.approx(weights[SEATED], rel=0.01)


async def test_equal_challengers_are_looked_at_three_times_and_spend_an_attempt(
    trial: Trial,
) -> None:
    await trial.live(8, 90 * BLOCK, logistic=0.0, river=0.0)

    for moment in LOOK_AT:
        await trial.look(moment)

    expected = [("keep", 0, 1), ("keep", 1, 1), ("keep", 2, 1), ("reject", 3, 1), ("keep", 0, 2)]
    assert await trial.record() == expected
    assert trial.roles() == {SEATED: Role.MEMBER, ON_TRIAL: Role.CHALLENGER, RIVER: Role.CHALLENGER}
    assert {(one.kind, one.model) for one in trial.told} == {
        ("rejected", ON_TRIAL),
        ("rejected", RIVER),
    }


async def test_the_budget_begins_anew_with_a_promotion(trial: Trial) -> None:
    await trial.live(8, 90 * BLOCK, logistic=0.0, river=0.0)
    for moment in LOOK_AT:
        await trial.look(moment)
    await trial.live(NEXT - 8 * BLOCK, 50 * BLOCK, logistic=0.05, river=0.0)

    (due,) = trial.challenges.due(at(NEXT + 40 * BLOCK))
    await trial.challenges.look(due)

    *_, look, begun = await trial.store.registry.decisions(seat(POOL))
    assert (look["verdict"], look["evidence"]["attempt"]) == ("promote", 2)
    assert look["evidence"]["alpha"] == pytest.approx(attempt_alpha(2) * 0.0005 / 0.05)
    assert begun["evidence"]["challengers"] == [RIVER]
    assert (begun["evidence"]["look"], begun["evidence"]["attempt"]) == (0, 1)


async def test_a_restart_between_looks_goes_on_with_the_challenge(trial: Trial) -> None:
    await trial.live(8, 90 * BLOCK, logistic=0.0, river=0.0)
    await trial.look(LOOK_AT[0])

    await trial.start()
    await trial.begin(LOOK_AT[0])  # a training begins none beside it
    again = trial.challenges.due(LOOK_AT[1] - timedelta(hours=1))
    await trial.look(LOOK_AT[1])
    await trial.start()
    await trial.look(LOOK_AT[2])

    assert again == ()
    expected = [("keep", 0, 1), ("keep", 1, 1), ("keep", 2, 1), ("reject", 3, 1), ("keep", 0, 2)]
    assert await trial.record() == expected


async def test_river_keeps_its_seat_through_a_restart(trial: Trial) -> None:
    await trial.live(8, 300, logistic=0.0, river=0.05)
    await trial.look(LOOK_AT[0])

    await trial.start()

    assert trial.roles() == {SEATED: Role.MEMBER, ON_TRIAL: Role.CHALLENGER, RIVER: Role.MEMBER}
    assert await trial.record(RIVER) == [("promote", 1, 1)]


async def test_a_look_waits_for_blocks_that_were_not_lived(trial: Trial) -> None:
    await trial.live(8, 10 * BLOCK, logistic=0.05, river=0.0)
    await trial.live(8 + 14 * BLOCK, 30 * BLOCK, logistic=0.05, river=0.0)  # away for four

    await trial.look(LOOK_AT[0])
    waiting = await trial.record()
    between = trial.challenges.due(LOOK_AT[0] + timedelta(hours=4 * BLOCK - 1))
    await trial.look(LOOK_AT[0] + timedelta(hours=4 * BLOCK))

    assert waiting == [("keep", 0, 1)]
    assert between == ()
    assert (await trial.record())[1] == ("promote", 1, 1)


async def test_one_that_was_mostly_silent_is_not_promoted(trial: Trial) -> None:
    await trial.live(8, 4 * BLOCK, river=0.0)
    await trial.live(8 + 4 * BLOCK, 26 * BLOCK, logistic=0.05, river=0.0)

    await trial.look(LOOK_AT[0])

    *_, last = await trial.store.registry.decisions(seat(POOL))
    assert (last["verdict"], last["evidence"]["logistic.direction.blocks"]) == ("keep", 26)


async def test_one_that_failed_a_guardrail_is_not_promoted(trial: Trial) -> None:
    await trial.live(8, 300, logistic=0.05, river=0.0)
    async with trial.store.writers.acquire() as connection:
        await connection.execute(
            'UPDATE ml_models_metadata SET metrics = \'{"failed": ["coverage 0.20"]}\''
        )

    await trial.look(LOOK_AT[0])

    *_, last = await trial.store.registry.decisions(seat(POOL))
    assert last["verdict"] == "keep"
    assert last["evidence"]["logistic.direction.failed"] == "coverage 0.20"


async def test_the_best_of_many_trials_needs_as_much_more_proof(trial: Trial) -> None:
    async with trial.store.writers.acquire() as connection:
        await connection.execute("UPDATE ml_models_metadata SET n_trials = 1000000")
    await trial.live(8, 300, logistic=0.01, river=0.0)

    await trial.look(LOOK_AT[0])

    *_, last = await trial.store.registry.decisions(seat(POOL))
    numbers = {
        name: last["evidence"][f"{ON_TRIAL}.{name}"]
        for name in ("p_better", "n_trials", "p_better_of_trials")
    }
    assert last["verdict"] == "keep"
    assert numbers["p_better"] < last["evidence"]["alpha"] / 2
    assert numbers["n_trials"] == 1_000_000
    assert numbers["p_better_of_trials"] > last["evidence"]["alpha"]
    assert f"{ON_TRIAL} counts 1000000 times" in last["evidence"]["words"]


async def test_models_that_wait_for_their_seats_put_a_look_off(trial: Trial) -> None:
    model = trial.seats.model(4, ON_TRIAL)
    assert model is not None
    trial.seats.schedule(
        SeatChange(
            model=model,
            role=Role.CHALLENGER,
            horizon=4,
            effective_from=LOOK_AT[0] + timedelta(hours=2),
        )
    )
    during = trial.challenges.due(LOOK_AT[0])
    trial.panel.seat_due(LOOK_AT[0] + timedelta(hours=2))

    assert during == ()
    assert len(trial.challenges.due(LOOK_AT[0] + timedelta(hours=2))) == 1


async def test_nobody_challenges_where_only_baselines_serve(trial: Trial) -> None:
    elsewhere = replace(trial, exchange="kraken")
    await elsewhere.start()
    await elsewhere.begin()

    assert elsewhere.roles() == {RIVER: Role.CHALLENGER}
    assert elsewhere.challenges.due(at(10_000)) == ()


async def test_only_live_rows_that_both_judged_are_laid_side_by_side(trial: Trial) -> None:
    nan = np.nan
    await trial.write(8, {POOL: np.array([[1.0, 2.0, nan]]), ON_TRIAL: np.array([[0.5, nan, 9.0]])})
    await trial.write(9, {POOL: np.array([[1.0, 2.0, 3.0]]), RIVER: np.array([[1.0, 2.0, 6.0]])})
    await trial.write(10, {POOL: np.array([[1.0, 2.0, 3.0]])}, Origin.LATE)

    dates = await in_the_shadow(
        trial.store.readers,
        POOL,
        [ON_TRIAL, RIVER],
        trial.seats.trial(4, Target.DIRECTION),
        since=from_ms(to_ms(at(8))),
    )

    assert dates.as_of_ms.tolist() == [to_ms(at(8)), to_ms(at(9))]
    gains = (dates.losses[:, :1] - dates.losses)[:, 1:]
    assert dates.losses[:, 0].tolist() == [1.5, 2.0]
    assert np.array_equal(gains, [[0.5, nan], [nan, -1.0]], equal_nan=True)
