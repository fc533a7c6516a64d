"""Work of jobs that is done when a test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from backend.jobs import JobFailedError, Note, Outcome
from backend.store.jobs import Job
from domain.errors import UnknownExchangeError

RESULT = [{"timeframe": "1h", "missing": 3, "filled": 2, "not_there": 1}]


@dataclass
class Errand:
    """Work that is done when the test says so."""

    may_end: asyncio.Event = field(default_factory=asyncio.Event)
    taken: list[Job] = field(default_factory=list)
    bugs: int = 0  # that a job of BUG/USDT meets yet

    def check(self, request: Mapping[str, Any]) -> None:
        if request.get("exchange", "binance") != "binance":
            raise UnknownExchangeError(request["exchange"], ["binance"])

    async def do(self, job: Job, note: Note) -> Outcome:
        self.taken.append(job)
        await note({"done": 0, "total": 3})
        await self.may_end.wait()
        if job.request.get("symbol") == "BUG/USDT" and self.bugs:
            self.bugs -= 1
            raise KeyError("a bug")
        if job.request.get("symbol") == "GONE/USDT":
            raise JobFailedError("GONE/USDT left\nbefore all was known")
        return Outcome(result=RESULT, detail="half of it")
