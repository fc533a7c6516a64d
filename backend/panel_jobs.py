"""What callers, and those who collect, ask of whoever runs a panel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from backend.api.state import RolledBack
from backend.api.status import Status
from backend.hosting import Host, Hosted
from backend.jobs import JobFailedError, Jobs, Note, Outcome
from backend.leaving import withdraw_signals
from backend.retrains import Retrains
from backend.store.database import patiently
from backend.store.jobs import Job, JobStore
from backend.store.system_status import panel_voice
from backend.wiring import Store
from domain.market import Instrument, Listing
from domain.topics import panel_key

ANY_TIME: Final = datetime.max.replace(tzinfo=UTC)  # of what is watched until further notice


def panel_jobs(host: Host, hosted: Hosted) -> Jobs:
    """The jobs of a panel that runs."""
    key = hosted.runner.panel.key
    members = Members(hosted=hosted, store=host.store, status=host.status)
    return Jobs(
        JobStore(host.store.writers, host.fence),
        panel_voice(panel_key(key.exchange, key.timeframe)),
        [
            {"retrain": Retrains(*hosted, host.store.runs, wall=host.wall)},
            {"rollback": Rollbacks(hosted)},
            {"join": Joins(members)},
            {"leave": Leaves(members)},
        ],
        bell=host.bell,
        clock=host.plan.clock,
        wall=host.wall,
    )


class Rollbacks:
    """Jobs of the kind `rollback`: a version leaves its place, for good."""

    def __init__(self, hosted: Hosted) -> None:
        self._hosted = hosted

    async def do(self, job: Job, note: Note) -> Outcome:
        """Take the version from its place; an earlier attempt may have done it."""
        del note
        model, horizon = job.request["model"], job.request["horizon"]
        observer = self._hosted.observer
        if horizon not in self._hosted.runner.panel.rooms:
            raise JobFailedError(f"nothing is predicted at horizon {horizon} now")
        place = {name: job.request[name] for name in ("exchange", "timeframe", "horizon")}
        gone = job.request["version"]
        before = observer.learning.placed(horizon).get(model)
        if before == gone:
            before = await observer.roll_back(horizon, model)
        done = RolledBack(**place, model=model, version=gone, previous=before)
        return Outcome(result=[asdict(done)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Members:
    """The instruments of a panel."""

    hosted: Hosted
    store: Store
    status: Status

    async def watched(self) -> Mapping[Instrument, Listing]:
        """What is watched of its exchange, by whoever collects it."""
        wall = self.hosted.runner.wall
        listings = await patiently(partial(self.store.instruments.watched, ANY_TIME), wall)
        exchange = self.hosted.runner.panel.key.exchange
        return {one.instrument: one for one in listings if one.instrument.exchange == exchange}


class Joins:
    """Jobs of the kind `join`: the rows of an instrument whose history was fetched."""

    def __init__(self, members: Members) -> None:
        self._members = members

    async def do(self, job: Job, note: Note) -> Outcome:
        """Make them, beside the ticks."""
        del note
        runner, observer = self._members.hosted
        instrument = _named(job)
        listing = (await self._members.watched()).get(instrument)
        if listing is None:
            raise JobFailedError(f"{instrument} is not watched any more")
        runner.panel.enlist([listing])
        first: str | None = job.request["first"].get(runner.panel.key.timeframe.value)
        begin = None if first is None else datetime.fromisoformat(first)
        await observer.revisions.take_in(instrument, first=begin)
        return Outcome(result=None)


class Leaves:
    """Jobs of the kind `leave`: open signals of whoever is not watched any more are closed."""

    def __init__(self, members: Members) -> None:
        self._members = members

    async def do(self, job: Job, note: Note) -> Outcome:
        """Close them, at the last close."""
        del note
        members, instrument = self._members, _named(job)
        watched = await members.watched()
        if instrument not in watched:
            members.status.forget(instrument)
        await withdraw_signals(members.hosted.runner, members.store, watched)
        return Outcome(result=None)


def _named(job: Job) -> Instrument:
    request: Mapping[str, Any] = job.request
    return Instrument(request["exchange"], request["symbol"])
