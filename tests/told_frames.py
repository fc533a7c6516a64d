"""Frames as a server sends them, made up one by one: for what a real one does not do on demand."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

EPOCH = "e1"
BTC = "signals.1h.simulated.BTC/USDT"
ETH = "signals.1h.simulated.ETH/USDT"
FIRST_HASH = "0" * 64


class Chain:
    """The log of a stream: event n has `{"horizon":4,"n":n}`, oddly spaced."""

    def __init__(self, stream: str = BTC, epoch: str = EPOCH) -> None:
        self.stream = stream
        self.epoch = epoch
        self._hashes = [FIRST_HASH]

    def event(self, offset: int, **changes: Any) -> str:
        """The members of event `offset`, without braces; `changes` come after it was hashed."""
        while len(self._hashes) <= offset:
            self._hashes.append(self._hash(len(self._hashes)))
        fields = {**self._fields(offset), "hash": self._hashes[offset]} | changes
        payload = fields.pop("data", self.payload(offset))
        return f'{json.dumps(fields)[1:-1]}, "data":{payload}'

    def hash(self, offset: int) -> str:
        """Of event `offset`, which was told."""
        return self._hashes[offset]

    def payload(self, offset: int) -> str:
        return f'{{"horizon" :4,"n":{offset}}}'

    def _hash(self, offset: int) -> str:
        text = "".join(f"{value}\n" for value in self._fields(offset).values())
        return sha256((text + self.payload(offset)).encode()).hexdigest()

    def _fields(self, offset: int) -> dict[str, Any]:
        return {
            "previous_hash": self._hashes[offset - 1],
            "stream": self.stream,
            "epoch": self.epoch,
            "offset": offset,
            "event": "opened",
            "as_of": "2024-01-01T00:00:00.000Z",
            "ts": f"2024-01-01T00:00:{offset % 60:02}.000Z",
        }


class Frames:
    """The frames of one connection, numbered as they are made."""

    def __init__(self) -> None:
        self.seq = 0

    def of(self, kind: str, **members: Any) -> str:
        return self._numbered(json.dumps({"type": kind, **members})[1:-1])

    def welcome(self, **limits: int) -> str:
        return self.of(
            "welcome",
            api="alphapulse.v1.json",
            heartbeat_ms=4_000,
            limits={"frame_bytes": 65_536, **limits},
        )

    def granted(
        self,
        *streams: str,
        offset: int = 0,
        number: int = 1,
        epoch: str | None = EPOCH,
        **more: Any,
    ) -> str:
        """A reply that grants streams from their heads on, unless `more` says otherwise."""
        said = {"epoch": epoch, "offset": offset, "recovered": True, "replay": 0, **more}
        result = {"streams": [{"stream": each, **said} for each in streams], "rejected": []}
        return self.of("reply", id=number, method="subscribe", ok=True, result=result)

    def rejected(self, stream: str, **error: Any) -> str:
        result = {"streams": [], "rejected": [{"stream": stream, "error": error}]}
        return self.of("reply", id=1, method="subscribe", ok=True, result=result)

    def live(self, stream: str = BTC, offset: int = 0, epoch: str | None = EPOCH) -> str:
        return self.of("live", stream=stream, epoch=epoch, offset=offset)

    def update(self, chain: Chain, offset: int, **changes: Any) -> str:
        return self._numbered(f'"type":"update",{chain.event(offset, **changes)}')

    def heartbeat(self, ts: str = "2024-01-01T01:00:00.000Z", **heads: int) -> str:
        """`heads` by symbol."""
        named = {f"signals.1h.simulated.{one}/USDT": [EPOCH, at] for one, at in heads.items()}
        return self.of("heartbeat", ts=ts, heads=named)

    def begun(self, *streams: str, offset: int = 0) -> list[str]:
        """Up to where streams are live."""
        named = streams or (BTC,)
        first = [self.welcome(), self.granted(*named, offset=offset)]
        return [*first, *(self.live(each, offset) for each in named)]

    def _numbered(self, members: str) -> str:
        self.seq += 1
        return f'{{{members},"seq":{self.seq - 1}}}'
