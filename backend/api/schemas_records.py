"""What a record on a broker says beside its value; a test holds records to it."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class RecordHeaders(BaseModel):
    """Of CloudEvents 1.0 in binary mode, and what the hash of an event is made of; all are text.

    `hash` is SHA-256 over, each followed by a line feed, previous_hash, ce_subject, epoch, offset,
    event, as_of and ce_time, and then the bytes of the value.
    """

    model_config = ConfigDict(extra="forbid")

    ce_specversion: Literal["1.0"]
    ce_id: str = Field(description="the same whenever the event comes again")
    ce_source: Literal["alphapulse"]
    ce_type: str = Field(description="the topic of its kind")
    ce_subject: str = Field(description="the stream")
    ce_time: datetime = Field(description="when the commit of the event began")
    content_type: Literal["application/json"] = Field(alias="content-type")
    schema_: Literal["1"] = Field(alias="schema", description="version of the value")
    event: str = Field(description="`prediction`; `opened`, `updated`, `closed`")
    epoch: str = Field(description="the log's identity")
    offset: int = Field(ge=1, description="in the stream, from 1 without a hole")
    as_of: datetime = Field(description="close of the last candle that was used")
    hash: str
    previous_hash: str = Field(description="of the event before it in the stream; zeros before 1")
    traceparent: str = Field(description="W3C Trace Context; what one tick made has one trace id")
