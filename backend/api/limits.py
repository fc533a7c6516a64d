"""Bounds of one socket connection, each with its reason."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a client may ask and how long it may lag; sent in `welcome`."""

    connections: int = 2_000  # one process serves no more without starving its tick
    subscriptions: int = 5_000  # 1 000 instruments, candles to signals, with room
    requests_per_s: int = 10
    burst: int = 20
    frame_bytes: int = 65_536
    queue_bytes: int = 4_194_304  # ticks of 5 000 streams wait here; frames are shared
    heartbeat_ms: int = 5_000
    replay_max: int = 10_000  # events of one stream, about a year of hours
    grace_ms: int = 2_000  # for a client to take what is queued when the server stops
    write_timeout_ms: int = 5_000  # a peer that takes nothing for so long is gone
    auth_ms: int = 10_000  # for the first frame, where it has to say who calls

    def public(self) -> dict[str, int]:
        """What a client is told: what it can keep to, and how many there may be."""
        names = (
            "connections", "subscriptions", "requests_per_s", "burst", "frame_bytes", "queue_bytes",
            "replay_max",
        )  # fmt: skip
        values = asdict(self)
        return {name: values[name] for name in names}


class RequestBudget:
    """A token bucket: `burst` at once, then `per_s`."""

    def __init__(self, *, per_s: float, burst: int, at: float) -> None:
        self._per_s = per_s
        self._burst = burst
        self._tokens = float(burst)
        self._at = at

    @property
    def tokens(self) -> float:
        """What was left when it was spent from last."""
        return self._tokens

    def spend(self, at: float) -> float:
        """Take one token at `at` (seconds); 0, or the seconds until there is one.

        >>> budget = RequestBudget(per_s=10, burst=1, at=0.0)
        >>> budget.spend(0.0), budget.spend(0.0), budget.spend(0.1)
        (0.0, 0.1, 0.0)
        """
        self._tokens = min(self._burst, self._tokens + (at - self._at) * self._per_s)
        self._at = at
        if self._tokens < 1.0:
            return (1.0 - self._tokens) / self._per_s
        self._tokens -= 1.0
        return 0.0
