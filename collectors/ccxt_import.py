"""One exchange of ccxt without the import of all the others.

`import ccxt.pro` reads every exchange (about 2 s of CPU and 108 MB on a warm disk, 6–9 s on a
cold one); one exchange with its own parents is 0.6 s and 54 MB. ccxt's three packages are
therefore entered as packages whose exchanges are imported when they are asked for.
"""

from __future__ import annotations

import importlib
import sys
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from domain.errors import UnknownExchangeError

_PACKAGES = ("ccxt", "ccxt.async_support", "ccxt.pro")


def exchange_ids() -> list[str]:
    """The ids of all exchanges whose sockets ccxt knows, sorted; imports none of them."""
    spec = find_spec("ccxt")
    folders = (spec.submodule_search_locations if spec else None) or []
    files = (file for folder in folders for file in Path(folder, "pro").glob("[a-z]*.py"))
    return sorted(file.stem for file in files)


def exchange_class(exchange_id: str) -> type[Any]:
    """ccxt's class for the sockets and REST of one exchange.

    Raises:
        UnknownExchangeError: ccxt does not have it; with the closest ids that it has.
    """
    ids = exchange_ids()
    if exchange_id not in ids:
        raise UnknownExchangeError(exchange_id, ids)
    if "ccxt" not in sys.modules:
        _enter_packages()
    module = importlib.import_module(f"ccxt.pro.{exchange_id}")
    exchange: type[Any] = getattr(module, exchange_id)
    return exchange


def _enter_packages() -> None:
    """Put ccxt's packages into `sys.modules` without running their `__init__.py`."""
    for name in _PACKAGES:
        spec = find_spec(name)
        if spec is None:
            raise ModuleNotFoundError(name)
        package = module_from_spec(spec)
        package.__dict__["__getattr__"] = _Attributes(name)
        sys.modules[name] = package
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, package)
    errors = importlib.import_module("ccxt.base.errors")
    root = sys.modules["ccxt"]
    root.__dict__.update({key: value for key, value in vars(errors).items() if key[0] != "_"})
    root.__dict__["Exchange"] = importlib.import_module("ccxt.base.exchange").Exchange


class _Attributes:
    """`package.name` for an exchange is the class `name` of the module `package.name`."""

    def __init__(self, package: str) -> None:
        self._package = package

    def __call__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            module: ModuleType = importlib.import_module(f"{self._package}.{name}")
        except ModuleNotFoundError as error:
            raise AttributeError(f"{self._package} has no {name!r} here") from error
        return getattr(module, name, module)
