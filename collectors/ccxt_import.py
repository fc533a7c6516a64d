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
from urllib.parse import urlsplit

from domain.errors import UnknownExchangeError

_PACKAGES = ("ccxt", "ccxt.async_support", "ccxt.pro")


def exchange_ids() -> list[str]:
    """The ids of all exchanges whose sockets ccxt knows, sorted; imports none of them."""
    spec = find_spec("ccxt")
    folders = (spec.submodule_search_locations if spec else None) or []
    files = (file for folder in folders for file in Path(folder, "pro").glob("[a-z]*.py"))
    return sorted(file.stem for file in files)


def exchange_class(exchange_id: str) -> type[Any]:
    """The class of ccxt for the sockets and REST of one exchange.

    Raises:
        UnknownExchangeError: ccxt does not have it; with the closest ids that it has.
    """
    ids = exchange_ids()
    if exchange_id not in ids:
        raise UnknownExchangeError(exchange_id, ids)
    exchange: type[Any] = getattr(ccxt_module(f"pro.{exchange_id}"), exchange_id)
    return exchange


def ccxt_module(name: str) -> ModuleType:
    """One module of ccxt, `base.errors` for one."""
    if "ccxt" not in sys.modules:
        _enter_packages()
    return importlib.import_module(f"ccxt.{name}")


def moved(addresses: Any, base: str) -> Any:  # noqa: ANN401 - a tree of dicts with strings
    """`addresses` with `base` in place of each one's scheme and host.

    >>> moved({"public": "https://api.binance.com/api/v3"}, "http://127.0.0.1:9000")
    {'public': 'http://127.0.0.1:9000/api/v3'}
    """
    if isinstance(addresses, dict):
        return {name: moved(address, base) for name, address in addresses.items()}
    if not isinstance(addresses, str):
        return addresses
    return base.rstrip("/") + urlsplit(addresses).path


def _enter_packages() -> None:
    """Put ccxt's packages into `sys.modules` without running their `__init__.py`."""
    for name in _PACKAGES:
        spec = find_spec(name)
        if spec is None:
            raise ModuleNotFoundError(name)
        package = module_from_spec(spec)
        package.__class__ = _Package
        sys.modules[name] = package
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, package)
    errors = importlib.import_module("ccxt.base.errors")
    root = sys.modules["ccxt"]
    root.__dict__.update({key: value for key, value in vars(errors).items() if key[0] != "_"})
    root.__dict__["Exchange"] = importlib.import_module("ccxt.base.exchange").Exchange


class _Package(ModuleType):
    """A package in which the name of an exchange means its class, imported when asked for."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            module = importlib.import_module(f"{self.__name__}.{name}")
        except ModuleNotFoundError as error:
            raise AttributeError(f"{self.__name__} has no {name!r} here") from error
        return getattr(module, name, module)

    def __setattr__(self, name: str, value: object) -> None:
        """An import binds each submodule to its name here; ccxt means the class of that name."""
        within = getattr(value, name, None) if isinstance(value, ModuleType) else None
        super().__setattr__(name, within if isinstance(within, type) else value)
