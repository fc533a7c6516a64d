"""What the parts of a job come to, and why nobody could follow an order."""

from __future__ import annotations

from typing import Any

import pytest

from backend.api.problems import problem_of
from backend.store.job_parts import Part, refusal, together
from domain.errors import ExchangeUnavailableError, UnknownSymbolError, UsageError

UNLISTED = UnknownSymbolError("BTC/USD", ["BTC/USDT"])
UNLISTED_TOO = UnknownSymbolError("BTC/USD", ["BTC/USDC"])
AWAY = ExchangeUnavailableError("it does not answer")
LAST = UsageError("it is the last one")


def part(state: str, **more: Any) -> Part:
    return Part(owner="panel binance|1h", state=state, attempts=more.pop("attempts", 1), **more)


def told(answer: Exception | str) -> Part:
    if isinstance(answer, str):
        return part(answer)
    return part("failed", detail=str(answer), problem=problem_of(answer))


@pytest.mark.parametrize(
    ("states", "state"),
    [
        (["queued", "queued"], "queued"),
        (["queued", "running"], "running"),
        (["queued", "done"], "running"),
        (["failed", "queued"], "running"),
        (["failed", "done"], "done"),
        (["failed", "failed"], "failed"),
    ],
)
def test_a_job_is_over_when_all_of_its_parts_are(states: list[str], state: str) -> None:
    assert together([part(one) for one in states]).state == state


def test_a_job_tells_what_its_parts_tell_added_up() -> None:
    one = part(
        "done",
        attempts=2,
        progress={"done": 1, "total": 2, "trainings": [1], "missing": {"1h": 3}},
        result=["a"],
        detail="half of it",
    )
    other = part("running", progress={"done": 1, "total": 3, "missing": {"1h": 1, "4h": 2}})
    whole = together([one, other, part("running", attempts=0)])

    assert whole.progress == {
        "done": 2,
        "total": 5,
        "trainings": [1],
        "missing": {"1h": 4, "4h": 2},
    }
    assert (whole.result, whole.detail, whole.attempts) == (["a"], "half of it", 2)
    assert together([part("queued")]).progress is None


@pytest.mark.parametrize(
    "answers", [[UNLISTED, "done"], [AWAY, "done"], [LAST, UNLISTED, "done"], [LAST, "queued"]]
)
def test_those_that_can_follow_an_order_do_whatever_others_say(
    answers: list[Exception | str],
) -> None:
    assert refusal([told(one) for one in answers]) is None


@pytest.mark.parametrize(
    ("answers", "code", "said"),
    [
        ([UNLISTED], "unknown_symbol", "nearest: BTC/USDT"),
        ([UNLISTED, UNLISTED_TOO], "unknown_symbol", "nearest: BTC/USDC, BTC/USDT"),
        ([UNLISTED, AWAY], "unreachable", "it does not answer"),
        ([UNLISTED, LAST], "bad_request", "it is the last one"),
        ([KeyError("a defect")], "internal", "a defect"),
    ],
)
def test_where_nobody_can_the_reason_is_told(
    answers: list[Exception | str], code: str, said: str
) -> None:
    refused = refusal([told(one) for one in answers])

    assert refused is not None
    assert refused["code"] == code
    assert said in refused["detail"]
