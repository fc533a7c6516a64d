"""What a value of a setting may be, whichever setting it is of."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Final, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr

from domain.errors import UsageError, shortened

T = TypeVar("T")

LONGEST_NAME: Final = 255  # bytes of a part of a path, by Linux
LONGEST_PATH: Final = 3_500  # bytes; Linux takes 4095, and what is in a folder has a path too
MIRRORS: Final = ("http", "https", "sqlite", "postgresql", "mysql", "mssql")


def refuse_unwritable(value: object, name: str = "") -> None:
    """See that no text of the settings holds what no table, header or terminal takes.

    Args:
        value: a setting, or a table of them as deep as it goes.
        name: of it.

    Raises:
        UsageError: one does; it is named and not repeated.
    """
    for where, text in _texts(value, name):
        for char in text:
            if unicodedata.category(char) in {"Cc", "Cs"}:  # controls, and bytes that are no UTF-8
                what = f"a character that no setting has (U+{ord(char):04X})"
                raise UsageError(f"setting {shortened(where)} holds {what}")


def _texts(value: object, name: str) -> Iterator[tuple[str, str]]:
    """All texts within, each with the name of where it is."""
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, str | Path):
        yield name, str(value)
    elif isinstance(value, Mapping):
        for key, within in value.items():
            yield name or "name", str(key)
            yield from _texts(within, f"{name}.{key}" if name else str(key))
    elif isinstance(value, Sequence | set | frozenset) and not isinstance(value, bytes):
        for within in value:
            yield from _texts(within, name)


def place(path: Path) -> Path:
    """`path`, which this machine can have.

    Raises:
        ValueError: it is longer than a path may be.
    """
    length = len(os.fsencode(path.absolute()))
    if length > LONGEST_PATH:
        raise ValueError(f"a path of {length} bytes is too long; {LONGEST_PATH} are the most")
    longest = max((len(os.fsencode(part)) for part in path.parts), default=0)
    if longest > LONGEST_NAME:
        raise ValueError(f"a name of {longest} bytes is too long; {LONGEST_NAME} are the most")
    return path


def host(value: str) -> str:
    """`value`, which may be the name or the address of a host.

    Raises:
        ValueError: no host is called so.
    """
    try:
        written = value.encode("idna")
    except UnicodeError:
        written = b""
    if not written or any(char.isspace() or char in "/@?#[]" for char in value):
        raise ValueError("no name of a host, and no address")
    return value


def port(text: str) -> bool:
    """Whether `text` is a port.

    >>> port("9092"), port("99999"), port("9" * 5_000)
    (True, False, False)
    """
    return text.isascii() and text.isdigit() and len(text) <= len("65535") and 0 < int(text) < 2**16


def address(value: str, *, schemes: Sequence[str], what: str = "an address") -> str:
    """`value`, which names a host after one of the schemes.

    Raises:
        ValueError: it does not; the message does not repeat it.
    """
    begins = " or ".join(f"{one}://" for one in schemes)
    try:
        parts = urlsplit(value)
        host(parts.hostname or "")
        whole = parts.scheme in schemes and parts.port != 0 and not any(map(str.isspace, value))
    except ValueError:
        whole = False
    if not whole:
        raise ValueError(f"{what} begins with {begins}, and names a host")
    return value


def mirror_address(value: str) -> str:
    """`value`, which MLflow can copy to.

    Raises:
        ValueError: it cannot be an address of it; the message does not repeat it.
    """
    scheme, there, rest = value.partition("://")
    if not (there and rest) or scheme not in MIRRORS:
        raise ValueError(f"no address of an MLflow server; it begins with {MIRRORS[0]}://")
    return value


def _checked(value: SecretStr) -> SecretStr:
    mirror_address(value.get_secret_value())
    return value


def origin(value: str) -> str:
    """`value`, which a browser sends as `Origin`.

    Raises:
        ValueError: none does.
    """
    parts = urlsplit(value)
    whole = f"{parts.scheme}://{parts.netloc}"
    if parts.scheme not in {"http", "https"} or not parts.netloc or value != whole or "*" in value:
        raise ValueError(
            f"{shortened(value)!r} is no origin; write https://app.example, without a path"
        )
    return value


def once(values: tuple[T, ...]) -> tuple[T, ...]:
    """Each of the values once, in their order.

    >>> once((4, 24, 4))
    (4, 24)
    """
    return tuple(dict.fromkeys(values))


Origin = Annotated[str, AfterValidator(origin)]
MirrorAddress = Annotated[SecretStr, AfterValidator(_checked)]
WebAddress = Annotated[str, AfterValidator(partial(address, schemes=("https", "http")))]
SocketAddress = Annotated[str, AfterValidator(partial(address, schemes=("wss", "ws")))]
Host = Annotated[str, AfterValidator(host)]
Place = Annotated[Path, AfterValidator(place)]
Days = Annotated[int, Field(le=36_500)]
Hours = Annotated[int, Field(le=876_000)]
Many = Annotated[int, Field(gt=0, le=1_000_000_000)]  # of anything that is counted in tables
