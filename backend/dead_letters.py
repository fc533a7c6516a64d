"""What an operator asks about records that could not be taken in: which, why, and once more."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from backend.brokers import bus_of, refuse_without_kafka
from backend.setting_tables import KafkaSettings
from backend.settings import Settings
from domain.errors import UsageError, in_one_line

ANSWER_WITHIN_S: Final = 15.0  # of a count


async def list_dead_letters(settings: Settings) -> None:
    """One line for each, the oldest first.

    Raises:
        UsageError: there is no broker between rooms, or it does not answer.
    """
    async with _broker(settings) as about:
        from backend.bus.dead import dead_letters  # noqa: PLC0415 - an extra

        async for one in dead_letters(about):
            sys.stdout.write(
                f"{one.failed_at} {one.topic}:{one.partition}:{one.offset} {one.group}"
                f" {'replayed' if one.replayed else 'kept'} {one.reason}\n"
            )


async def count_dead_letters(settings: Settings) -> int:
    """How many were not replayed.

    Raises:
        UsageError: as `list_dead_letters`.
    """
    async with _broker(settings) as about, asyncio.timeout(ANSWER_WITHIN_S):
        from backend.bus.dead import count_kept  # noqa: PLC0415 - an extra

        return await count_kept(about)


async def replay_dead_letters(settings: Settings) -> None:
    """Put those on their topics again that were not.

    Raises:
        UsageError: as `list_dead_letters`.
    """
    async with _broker(settings) as about:
        from backend.bus.dead import replay  # noqa: PLC0415 - an extra

        sys.stdout.write(f"{await replay(about)} put on their topics again\n")


@asynccontextmanager
async def _broker(settings: Settings) -> AsyncIterator[KafkaSettings]:
    refuse_without_kafka(settings)
    about = bus_of(settings)
    if about is None:
        raise UsageError(
            "no broker is between rooms: ALPHAPULSE_BUS_URL=kafka://host:9092 names one"
        )
    from aiokafka.errors import KafkaError  # noqa: PLC0415 - an extra

    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what it says is in the error too
    try:
        yield about
    except (KafkaError, OSError) as error:
        words = in_one_line(error)
        raise UsageError(f"{','.join(about.brokers)} does not answer: {words}") from error
