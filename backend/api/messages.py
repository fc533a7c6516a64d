"""Every message of the socket protocol as a model: they validate it and describe it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, TypeAdapter

from backend.api.values import parse_time

RequestId = int | str | None


class _Request(BaseModel):
    model_config = ConfigDict(extra="ignore")  # unknown fields are for later versions

    id: RequestId = None


Pattern = Annotated[str, Field(min_length=1, max_length=200)]
MOST_PATTERNS = 5_000


class Position(BaseModel):
    """Behind an event of a stream: the last one that was received; offset 0 is before the first.

    With its `hash` it is told apart from another event in its place, as a log may have that was
    restored from a backup.
    """

    model_config = ConfigDict(extra="forbid")

    epoch: str | None = Field(None, max_length=64)
    offset: int = Field(ge=0, lt=2**63)
    hash: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None


class FromTime(BaseModel):
    """Before the first event whose `ts` is not before this time."""

    model_config = ConfigDict(extra="forbid")

    time: Annotated[datetime, BeforeValidator(parse_time)]


Since = Literal["head"] | FromTime | Position
SinceEach = Annotated[
    Literal["head"] | FromTime | dict[Pattern, Since],
    Field(union_mode="left_to_right"),
]


class SubscribeParams(BaseModel):
    """Streams by name; `*` stands for any segment, and takes in streams that come to be later.

    `since` says where to begin instead of with a snapshot: `"head"`, `{"time": …}`, or by stream
    (`"*"` for all others) one of these or the `{"epoch", "offset", "hash"}` of the last event
    received.
    """

    streams: list[Pattern] = Field(min_length=1, max_length=MOST_PATTERNS)
    snapshot: bool = True
    deliver: Literal["all", "latest"] = Field(
        "all", description="latest: a client that lags gets the newest of each stream and horizon"
    )
    since: SinceEach | None = None


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


class HistoryParams(BaseModel):
    """A page of a stream's log: behind `since` oldest first, before it newest first."""

    model_config = ConfigDict(populate_by_name=True)

    stream: Pattern
    since: Position | None = None
    start: Annotated[datetime, BeforeValidator(parse_time)] | None = Field(None, alias="from")
    to: Annotated[datetime, BeforeValidator(parse_time)] | None = None
    limit: int = Field(500, ge=1, le=1_000)
    order: Literal["asc", "desc"] = "asc"


class History(_Request):
    """Events of the log, without a subscription."""

    method: Literal["history"]
    params: HistoryParams


class AuthParams(BaseModel):
    """Who calls: a key, or a ticket of `POST /v1/ws-tickets`."""

    token: SecretStr = Field(min_length=1, max_length=200)


class Auth(_Request):
    """Must be the first frame where a key is needed and the handshake had none."""

    method: Literal["auth"]
    params: AuthParams


ClientMessage = Annotated[
    Subscribe | Unsubscribe | ListSubscriptions | Ping | History | Auth,
    Field(discriminator="method"),
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


class Granted(StreamHead):
    """A stream of a subscription; the rest where `since` was asked of it.

    `recovered`: every event behind the place that was asked for follows, at least `replay` of them.
    Else none does, and `reason` says why.
    """

    recovered: bool | None = None
    replay: int | None = None
    reason: (
        Literal["epoch_changed", "not_as_it_was", "offset_expired", "too_far", "unknown_offset"]
        | None
    ) = None


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

    streams: list[Granted]
    rejected: list[Rejected] = []


class Event(BaseModel):
    """An event of a log, as `history` gives it; `data` to the byte as it was published."""

    model_config = ConfigDict(extra="forbid")

    stream: str
    epoch: str
    offset: int
    event: str
    as_of: str
    ts: str
    hash: str
    previous_hash: str
    data: dict[str, Any]


class EventPage(BaseModel):
    """Events, and the `since` of the page that follows; null where none does."""

    model_config = ConfigDict(extra="forbid")

    data: list[Event]
    next: Position | None


class Reply(_Frame):
    """The answer to a request, under its `id`."""

    type: Literal["reply"]
    id: RequestId
    method: Literal["subscribe", "unsubscribe", "list", "history", "auth"]
    ok: Literal[True]
    ts_in: str
    ts_out: str
    result: StreamList | EventPage


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
    `replay`: it was published before the subscription; `conflated`: how many events of this stream
    and horizon it stands for beside itself, where `latest` was asked for.
    `hash` is SHA-256 over, each followed by a line feed, previous_hash, stream, epoch,
    offset, event, as_of and ts, and then the bytes of `data` as sent.
    """

    type: Literal["update"]
    replay: Literal[True] | None = None
    conflated: int | None = Field(None, gt=0)
    stream: str
    epoch: str
    offset: int
    event: str
    as_of: str
    ts: str
    hash: str
    previous_hash: str
    data: dict[str, Any]


class Live(_Frame):
    """A stream has caught up: what comes from now on happens now, beginning behind `offset`."""

    type: Literal["live"]
    stream: str
    epoch: str | None
    offset: int
    ts: str


class Joined(_Frame):
    """A stream that came to be, and that a pattern of the connection takes in."""

    type: Literal["joined"]
    stream: str
    epoch: str
    offset: int
    ts: str


class Shutdown(_Frame):
    """The server stops; it ends the connection within `grace_ms` and asks to come back."""

    type: Literal["shutdown"]
    ts: str
    grace_ms: int


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
    """A request that could not be met; the connection stays.

    Without an `id` and with `stream`, `epoch` and `offset` in the problem (`not_as_it_was`): that
    event was edited in the database and is no row any more. The stream has ended for this
    connection, the others go on; a subscription with that place as its `since` goes on behind it.
    """

    type: Literal["error"]
    id: RequestId = None
    method: str | None = None
    ok: Literal[False]
    error: Problem


CLIENT_MESSAGES = (Subscribe, Unsubscribe, ListSubscriptions, Ping, History, Auth)
SERVER_MESSAGES = (
    Welcome, Reply, Snapshot, Update, Live, Joined, Heartbeat, Pong, Error, Shutdown,
)  # fmt: skip
ServerMessage = Annotated[
    Welcome | Reply | Snapshot | Update | Live | Joined | Heartbeat | Pong | Error | Shutdown,
    Field(discriminator="type"),
]

CLIENT: TypeAdapter[Any] = TypeAdapter(ClientMessage)
SERVER: TypeAdapter[Any] = TypeAdapter(ServerMessage)

METHODS = ("subscribe", "unsubscribe", "list", "history", "auth", "ping")
ALIASES = {"list_subscriptions": "list"}
