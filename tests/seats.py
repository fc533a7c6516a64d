"""A running system's models, as far as orders and pools go."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from backend.api.state import RolledBack, Weight
from backend.jobs import Note, Outcome
from backend.store.jobs import Job

NAME = "lightgbm.direction"
WEIGHT = Weight(
    exchange="simulated",
    timeframe="1h",
    horizon=4,
    target="direction",
    model=NAME,
    weight=1.0,
)


def weights() -> list[Weight]:
    """Those of a system with one pool of one."""
    return [WEIGHT]


@dataclass
class Book:
    """A panel in which the version before one that leaves is there at horizon 4 only."""

    orders: list[Job] = field(default_factory=list)

    async def do(self, job: Job, note: Note) -> Outcome:
        del note
        self.orders.append(job)
        place = {name: job.request[name] for name in ("exchange", "timeframe", "horizon")}
        gone = job.request["version"]
        before = gone - 1 if job.request["horizon"] == 4 else None
        row = RolledBack(**place, model=job.request["model"], version=gone, previous=before)
        return Outcome(result=[asdict(row)])
