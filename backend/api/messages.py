"""Every message of the socket protocol as a model: they validate it and describe it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

RequestId = int | str | None


class _Request(BaseModel):
    model_config = ConfigDict(extra="ignore")  # unknown fields are for later versions

    id: RequestId = None


Pattern = Annotated[str, Field(min_length=1, max_length=200)]
MOST_PATTERNS = 5_000


class SubscribeParams(BaseModel):
    """Streams by name; `*` stands for any segment."""

    streams: list[Pattern] = Field(min_length=1, max_length=MOST_PATTERNS)
    snapshot: bool = True


class Subscribe(_Request):
    """Begin to receive streams; answered per stream."""

    method: Literal["subscribe"]
    params: SubscribeParams


class UnsubscribeParams(BaseModel):
    """Streams by name or pattern, or all that are held."""

    streams: list[Pattern] = Field([], max_length=MOST_PATTERNS)
    all: bool = False


class Unsubscribe(_Request):
    """Stop receiving streams."""

    method: Literal["unsubscribe"]
    params: UnsubscribeParams


class ListSubscriptions(_Request):
    """Which streams this connection has, and where they stand."""

    method: Literal["list"]


class PingParams(BaseModel):
    """Anything; it comes back."""

    data: Any = None


class Ping(_Request):
    """Answered by `pong`; costs nothing of the request budget."""

    method: Literal["ping"]
    params: PingParams = PingParams()


ClientMessage = Annotated[
    Subscribe | Unsubscribe | ListSubscriptions | Ping, Field(discriminator="method")
]


class _Frame(BaseModel):
    model_config = ConfigDict(extra="forbid")

    seq: int = Field(ge=0, description="contiguous per connection, from 0")


class Welcome(_Frame):
    """The first frame."""

    type: Literal["welcome"]
    ts: str
    session: str
    api: Literal["alphapulse.v1.json"]
    server: str
    market: str
    heartbeat_ms: int
    limits: dict[str, int]


class StreamHead(BaseModel):
    """Where a stream stands; `epoch` is null before its first event."""

    model_config = ConfigDict(extra="forbid")

    stream: str
    epoch: str | None
    offset: int


class Problem(BaseModel):
    """A problem object, the same as on REST."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str
    code: str
    temporary: bool
    errors: list[dict[str, str]] = []


class StreamProblem(BaseModel):
    """What is wrong with one stream, the first few with the nearest names."""

    model_config = ConfigDict(extra="forbid")

    code: str
    status: int
    title: str
    detail: str
    temporary: bool
    suggestions: list[str] = []


class Rejected(BaseModel):
    """A stream that was not granted, and why."""

    model_config = ConfigDict(extra="forbid")

    stream: str
    error: StreamProblem


class StreamList(BaseModel):
    """Streams of a reply, and what was asked for and refused."""

    model_config = ConfigDict(extra="forbid")

    streams: list[StreamHead]
    rejected: list[Rejected] = []


class Reply(_Frame):
    """The answer to a request, under its `id`."""

    type: Literal["reply"]
    id: RequestId
    method: Literal["subscribe", "unsubscribe", "list"]
    ok: Literal[True]
    ts_in: str
    ts_out: str
    result: StreamList


class Snapshot(_Frame):
    """The newest row of a stream for each horizon, of `gaps` all that are not filled.

    Updates go on from `offset`.
    """

    type: Literal["snapshot"]
    stream: str
    epoch: str | None
    offset: int
    ts: str
    data: list[dict[str, Any]]


class Update(_Frame):
    """One event of a stream's log; `data` is the row as REST spells it.

    `ts` is when the commit of the event began: not before anything in `data` was made or known.
    `hash` is SHA-256 over, each followed by a line feed, previous_hash, stream, epoch,
    offset, event, as_of and ts, and then the bytes of `data` as sent.
    """

    type: Literal["update"]
    stream: str
    epoch: str
    offset: int
    event: str
    as_of: str
    ts: str
    hash: str
    previous_hash: str
    data: dict[str, Any]


class Heartbeat(_Frame):
    """Sent regularly; `heads` proves that a quiet stream is complete."""

    type: Literal["heartbeat"]
    ts: str
    heads: dict[str, tuple[str | None, int]]


class Pong(_Frame):
    """The answer to `ping`."""

    type: Literal["pong"]
    id: RequestId
    ts: str
    data: Any = None


class Error(_Frame):
    """A request that could not be met; the connection stays."""

    type: Literal["error"]
    id: RequestId = None
    method: str | None = None
    ok: Literal[False]
    error: Problem


ServerMessage = Annotated[
    Welcome | Reply | Snapshot | Update | Heartbeat | Pong | Error, Field(discriminator="type")
]

CLIENT: TypeAdapter[Subscribe | Unsubscribe | ListSubscriptions | Ping] = TypeAdapter(ClientMessage)
SERVER: TypeAdapter[Welcome | Reply | Snapshot | Update | Heartbeat | Pong | Error] = TypeAdapter(
    ServerMessage
)

CLIENT_MESSAGES = (Subscribe, Unsubscribe, ListSubscriptions, Ping)
SERVER_MESSAGES = (Welcome, Reply, Snapshot, Update, Heartbeat, Pong, Error)
METHODS = ("subscribe", "unsubscribe", "list", "ping")
ALIASES = {"list_subscriptions": "list"}
