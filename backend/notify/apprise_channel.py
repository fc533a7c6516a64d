"""A channel to people, by any service that the library apprise knows: Telegram, Slack, e-mail.

The library words its failures with parts of addresses, and addresses hold tokens. So nothing of
what it says goes on: of a failure, its HTTP status, or that there was no connection.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import re
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from importlib.util import find_spec
from typing import Any, Final

from domain.errors import UndeliveredError, UsageError
from domain.notifications import Notification

AT_MOST_S: Final = 30.0  # wall seconds of a try; the library's own timeouts are shorter
_TALKATIVE: Final = ("urllib3", "requests_oauthlib", "oauthlib")  # under it; they tell addresses
_STATUS: Final = re.compile(r"error=(\d{3})\b")


def open_service(name: str, address: str) -> AppriseChannel:
    """The channel of one address; takes a fraction of a second, to load the library.

    Args:
        name: of the channel, for messages.
        address: as apprise spells it.

    Raises:
        UsageError: the library is absent, or does not understand the address.
    """
    if find_spec("apprise") is None:
        raise UsageError(f"notify.channels.{name} needs apprise: install alphapulse[notify]")
    apprise = importlib.import_module("apprise")
    logging.getLogger("apprise").propagate = False
    for talkative in _TALKATIVE:
        logging.getLogger(talkative).setLevel(logging.CRITICAL)
    asset = apprise.AppriseAsset(app_id="AlphaPulse", http_redirects=False)
    service = apprise.Apprise(asset=asset)
    if not service.add(address) or len(service) != 1:
        raise UsageError(f"setting notify.channels.{name}.apprise is no address of one service")
    return AppriseChannel(service)


class AppriseChannel:
    """A `Channel` that works in a thread of its own, one try at a time.

    Args:
        service: an `apprise.Apprise` with one address.
        at_most_s: wall seconds of a try.
    """

    def __init__(self, service: Any, *, at_most_s: float = AT_MOST_S) -> None:  # noqa: ANN401 - imported late
        self._service = service
        self._at_most_s = at_most_s
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="apprise")
        self._trying: Future[str] | None = None

    async def send(self, notification: Notification) -> None:
        """Hand title and text to the service."""
        if self._trying is not None and not self._trying.done():
            raise UndeliveredError("the try before it is still under way")
        self._trying = self._thread.submit(self._send, notification)
        trying = asyncio.wrap_future(self._trying)
        await asyncio.wait({trying}, timeout=self._at_most_s)
        if not trying.done():
            raise UndeliveredError(f"no answer within {self._at_most_s:g} s")
        if error := trying.exception():
            problem = f"it fails ({type(error).__name__})"
        elif not (problem := trying.result()):
            return
        raise UndeliveredError(problem)

    async def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _send(self, notification: Notification) -> str:
        """What went wrong; empty where it was taken."""
        with _Heard() as heard:
            taken = self._service.notify(
                title=notification.title, body=notification.text, body_format="text"
            )
        return "" if taken else heard.problem


class _Heard(logging.Handler):
    """Listens to what the library says of one try, in whichever threads it works."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.problem = "it did not take it"

    def __enter__(self) -> _Heard:
        self._outside = _HEARD_BY.set(self)
        logging.getLogger("apprise").addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("apprise").removeHandler(self)
        _HEARD_BY.reset(self._outside)

    def emit(self, record: logging.LogRecord) -> None:
        if _HEARD_BY.get() is not self:
            return
        said = record.getMessage()
        if found := _STATUS.search(said):
            self.problem = f"HTTP {found[1]}"
        elif "onnection error" in said:
            self.problem = "no connection"


_HEARD_BY: ContextVar[_Heard | None] = ContextVar("_HEARD_BY", default=None)  # its threads have it
