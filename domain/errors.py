"""The tree of errors; each message is one line that a user can act on.

AlphaPulseError
├── UsageError                 what was asked for cannot be: exit 2 on the command line, 4xx on REST
│   ├── UnknownTimeframeError, UnknownExchangeError, UnknownSymbolError
│   └── DataFolderError        a data folder holds nothing that can be used
├── ExchangeError
│   ├── ExchangeUnavailableError, RateLimitedError
│   └── ExchangeRefusedError   an unavailable one that will not serve who asks
├── TickFailedError            a tick ended the panel that took it in
├── SourceUnavailableError     a source of texts or measurements does not answer as it should
├── UndeliveredError           a channel did not take a notification
│   └── ChannelGoneError
├── StoreError
│   ├── StoreUnavailableError, StateFolderError
└── ArtifactError              a model's file is missing, altered or unreadable
    └── ArtifactMissingError
"""

from __future__ import annotations

import difflib
import heapq
import re
from collections.abc import Iterable
from datetime import timedelta
from typing import Final

LISTED: Final = 12  # names in a message where none is near
COMPARED: Final = 16  # names that are compared letter by letter
LONGEST: Final = 64  # letters of a name that are compared and repeated
_UNPRINTABLE: Final = re.compile("[\0-\x1f\x7f-\x9f\ud800-\udfff]")


class AlphaPulseError(Exception):
    """The root: everything this system raises on purpose."""


class UsageError(AlphaPulseError):
    """The request cannot be met as it was made."""


class UnknownNameError(UsageError):
    """A name that is not known here, with the closest names that are; `setting` is where it is."""

    noun = "name"
    none = "none is known"

    def __init__(self, name: str, known: Iterable[str], setting: str = "") -> None:
        names = sorted(known)
        self.name = name
        self.suggestions = nearest(name, names)
        hint = f"nearest: {', '.join(self.suggestions)}" if self.suggestions else ""
        hint = hint or (_all(names) if names else self.none)
        where = f"setting {setting}: " if setting else ""
        super().__init__(f"{where}unknown {self.noun} {shortened(name)!r}; {hint}")


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """Up to three names that `name` may have meant, the likeliest first; case is no matter.

    Names are compared letter by letter only where they share most pairs of letters with it:
    whoever asks wrongly may ask for anything, and is answered in no time that others wait for.

    >>> nearest("dogs", ["XRP", "DOGE"])
    ['DOGE']
    """
    name = name[:LONGEST].casefold()
    pairs, spelled = _pairs(name), {one.casefold(): one for one in known}
    likely = heapq.nlargest(COMPARED, spelled, key=lambda one: len(pairs & _pairs(one)))
    return [spelled[one] for one in difflib.get_close_matches(name, likely, n=3, cutoff=0.5)]


def _pairs(name: str) -> set[str]:
    return {name[place : place + 2] for place in range(len(name) - 1)}


def shortened(name: str) -> str:
    """`name` as it is repeated to who said it.

    >>> shortened("x" * 70_000)[-3:]
    'xx…'
    """
    return name if len(name) <= LONGEST else f"{name[:LONGEST]}…"


def in_one_line(error: BaseException) -> str:
    r"""What an error says, or its kind where it says nothing; any table and terminal can hold it.

    Of a group, what its members say.

    >>> in_one_line(ValueError("a\x00 server\nsaid \x1b[2J\ud800")), in_one_line(KeyError())
    ('a server said [2J', 'KeyError')
    """
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(dict.fromkeys(map(in_one_line, error.exceptions)))
    return " ".join(_UNPRINTABLE.sub(" ", str(error)).split()) or type(error).__name__


def _all(names: list[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"known: {', '.join(names[:LISTED])}{more}"


class UnknownTimeframeError(UnknownNameError):
    """A timeframe that is none of ours."""

    noun = "timeframe"


class UnknownExchangeError(UnknownNameError):
    """An exchange id that ccxt does not have."""

    noun = "exchange"


class UnknownSourceError(UnknownNameError):
    """A source of texts or measurements that nobody asked."""

    noun = "source"


class UnknownSymbolError(UnknownNameError):
    """A symbol that the exchange does not list."""

    noun = "symbol"


class DataFolderError(UsageError):
    """A folder of recorded candles that holds nothing usable."""


class ExchangeError(AlphaPulseError):
    """An exchange failed to answer as it should."""


class ExchangeUnavailableError(ExchangeError):
    """No connection, a timeout, maintenance: worth another try later."""


class ExchangeRefusedError(ExchangeUnavailableError):
    """It does not serve who asks: by country, by its terms, or without a key."""


class RateLimitedError(ExchangeError):
    """The exchange asks for a pause."""

    def __init__(self, message: str, retry_after: timedelta) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class SourceUnavailableError(AlphaPulseError):
    """No answer that can be used: worth another try later, not before `retry_after` if given."""

    def __init__(self, message: str, retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class UndeliveredError(AlphaPulseError):
    """A notification that was not taken: worth another try, not before `retry_after` if given."""

    def __init__(self, message: str, retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ChannelGoneError(UndeliveredError):
    """The receiver says that it wants no more."""


class StoreError(AlphaPulseError):
    """The database refused or failed."""


class StoreUnavailableError(StoreError):
    """The database cannot be reached."""


class TickFailedError(AlphaPulseError):
    """A tick ended the panel that took it in; it is in the bus still, or a dead letter."""


class LeaseLostError(StoreError):
    """Another process may do now what ours was about to."""


class StateFolderError(StoreError):
    """The state folder is in use, of another version, or not ours."""


class ArtifactError(AlphaPulseError):
    """A model artifact is missing, altered or unreadable."""


class ArtifactMissingError(ArtifactError):
    """There is no such file, or it cannot be read from the disk."""
