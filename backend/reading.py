"""A text that an operator hands us in a file."""

from __future__ import annotations

from pathlib import Path

from domain.errors import UsageError


def read_text(path: Path) -> str:
    """The whole of a file in UTF-8.

    Raises:
        UsageError: it cannot be read, or is in another encoding; one line names it.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:  # what it shows of the text may be of a secret
        raise UsageError(f"{path} is not UTF-8: byte {error.start + 1}") from None
