"""What the record of decisions says of attempts at a seat: how many, since when, and whose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from domain.market import to_ms
from services.scores.challenge import next_attempt
from services.scores.promotion import Verdict

# Triggers of decisions.
COLD_START: Final = "cold_start"
CHALLENGE: Final = "challenge"
REFRESH: Final = "refresh"
REFIT: Final = "refit"  # of one on trial


def next_cold_start(decisions: Sequence[Mapping[str, Any]]) -> int:
    """The number of a target's next cold start, from the decisions on the target."""
    lifted = _promotions(decisions)
    tried = {to_ms(row["decided_at"]) for row in decisions if row["trigger"] == COLD_START}
    return next_attempt(tried - lifted, lifted)


def next_challenge(decisions: Sequence[Mapping[str, Any]]) -> int:
    """The number of a target's next challenge, from the decisions on the target."""
    begun = [
        to_ms(begun_at(row))
        for row in decisions
        if row["trigger"] == CHALLENGE and row["evidence"].get("look") == 0
    ]
    return next_attempt(begun, _promotions(decisions))


def tried_before(decisions: Sequence[Mapping[str, Any]], version: int) -> int | None:
    """The newest version of a kind before `version` that was on trial and did not leave it.

    Args:
        decisions: on the kind's seat.
        version: of the kind.
    """
    stays = {Verdict.KEEP, Verdict.REJECT}
    tried = {
        row["challenger_version"]
        for row in decisions
        if row["verdict"] in stays and row["trigger"] != REFRESH
    }
    left = {
        row[column]
        for row in decisions
        if row["verdict"] not in stays
        for column in ("champion_version", "challenger_version")
    }
    return max((one for one in tried - left - {None} if one < version), default=None)


def begun_at(row: Mapping[str, Any]) -> datetime:
    """When the challenge of a decision began."""
    return datetime.fromisoformat(row["evidence"]["begun"])


def _promotions(decisions: Sequence[Mapping[str, Any]]) -> set[int]:
    """When somebody took a seat that was not theirs; a refresh spends no budget and frees none."""
    return {
        to_ms(row["decided_at"])
        for row in decisions
        if row["trigger"] in {COLD_START, CHALLENGE}
        and row["verdict"] in {Verdict.COLD_START, Verdict.PROMOTE}
    }
