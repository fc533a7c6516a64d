"""Plug-ins are put through the contract suite, in a process of their own, before they serve."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import lru_cache
from typing import Final

from alphapulse_testing.check import Check
from alphapulse_testing.fitted import fitted_checks
from alphapulse_testing.labels import label_checks
from alphapulse_testing.learners import online_checks
from alphapulse_testing.policies import policy_checks
from alphapulse_testing.sources import source_checks
from backend.executor import ProcessExecutor
from backend.plugins import PluginError, SwitchedOn, find, known, plugins
from backend.settings import Settings
from collectors.sources.kinds import SourceKind
from domain.classes import LabelKind
from domain.errors import AlphaPulseError
from domain.ports import Executor
from services.features.kinds import CandleKind
from services.models.kinds import FeatureKind, FittedKind, OnlineKind
from services.signals.kinds import PolicyKind

AT_MOST_S: Final = 120.0  # wall seconds of one check: the suite's own kinds take below one

_TOO_LONG: Final = f"it took over {AT_MOST_S:.0f} s"


async def admit(settings: Settings) -> None:
    """See that every plug-in that is switched on keeps its promises.

    Raises:
        UnknownPluginError: one is not there.
        PluginError: one does not; the first promise that it breaks is named.
    """
    for name in settings.plugins.names:
        async with _process() as executor:
            one = replace(settings.plugins, names=(name,), variants=())
            for number, check in enumerate(await _asked(executor, one)):
                words = await _failure(executor, one, number)
                if words is not None:
                    raise PluginError(f"plug-in {name} refused: {check}: {words}")


async def check_plugin(name: str, settings: Settings) -> int:
    """Print what each check of a plug-in says; 1 when one fails.

    Raises:
        UnknownPluginError: it is not there.
        PluginError: it cannot be loaded, or needs what is not installed.
    """
    plugin = find(name, settings.state)
    if plugin.lacks:
        raise PluginError(f"plug-in {name}: {plugin.lacks}")
    one = SwitchedOn(names=(name,), state=settings.state.absolute())
    failed = 0
    async with _process() as executor:
        names = await _asked(executor, one)
        for number, check in enumerate(names, start=1):
            words = await _failure(executor, one, number - 1)
            failed += words is not None
            sys.stdout.write(f"ok   {check}\n" if words is None else f"FAIL {check}: {words}\n")
            sys.stdout.flush()
            if words == _TOO_LONG:  # its process will not take another one
                break
    verdict = f"{failed} of {len(names)} checks failed" if failed else f"{len(names)} checks passed"
    verdict += f", {len(names) - number} were not run" if number < len(names) else ""
    sys.stdout.write(f"{name} of {plugin.provider} {plugin.version}: {verdict}\n")
    return 1 if failed else 0


def list_plugins(settings: Settings) -> None:
    """One line for each plug-in that is there: whose it is, and whether it is switched on."""
    found = plugins(settings.state)
    for name, plugin in sorted(found.items()):
        state = "on " if name in settings.plugins.names else "off"
        lacks = f"; {plugin.lacks}" if plugin.lacks else ""
        sys.stdout.write(f"{state} {name} of {plugin.provider} {plugin.version}{lacks}\n")
    if not found:
        sys.stdout.write("there is no plug-in\n")


@asynccontextmanager
async def _process() -> AsyncIterator[Executor]:
    executor = ProcessExecutor(nice=0)
    try:
        yield executor
    finally:
        executor.close()


async def _asked(executor: Executor, one: SwitchedOn) -> list[str]:
    """The names of its checks, once it has been loaded.

    Raises:
        PluginError: it cannot be.
    """
    future, name = executor.submit(_names, one), one.names[0]
    try:
        error = await asyncio.to_thread(future.exception, AT_MOST_S)
    except TimeoutError:
        raise PluginError(f"plug-in {name} was not loaded within {AT_MOST_S:.0f} s") from None
    if isinstance(error, PluginError):  # it says of which
        raise error
    if error is not None:
        raise PluginError(f"plug-in {name} cannot be loaded: {_said(error)}") from error
    return future.result()


async def _failure(executor: Executor, one: SwitchedOn, number: int) -> str | None:
    """What a check fails with, in words; None where it passes."""
    future = executor.submit(_run, one, number)
    try:
        error = await asyncio.to_thread(future.exception, AT_MOST_S)
    except TimeoutError:
        return _TOO_LONG
    return None if error is None else _said(error)


def _said(error: BaseException) -> str:
    words = " ".join(str(error).split())
    ours = isinstance(error, AlphaPulseError)
    return words if ours else f"{type(error).__name__}: {words}"


@lru_cache(maxsize=1)
def _checks(one: SwitchedOn) -> list[Check]:
    """In the process that runs them: the same subjects for all."""
    (name,) = one.names
    part = known(one).parts[name]
    if isinstance(part, CandleKind | FeatureKind):
        return _of_features(part)
    if isinstance(part, PolicyKind):
        return policy_checks(part)
    if isinstance(part, LabelKind):
        return label_checks(part)
    if isinstance(part, SourceKind):
        return source_checks(part)
    if isinstance(part, FittedKind):
        return fitted_checks(part)
    return online_checks(part) if isinstance(part, OnlineKind) else []


def _of_features(part: CandleKind | FeatureKind) -> list[Check]:
    from alphapulse_testing import (  # noqa: PLC0415 - numba, which only these need
        candles,
        features,
    )

    if isinstance(part, CandleKind):
        return candles.candle_checks(part)
    return features.feature_checks(part)


def _names(one: SwitchedOn) -> list[str]:
    return [check.name for check in _checks(one)]


def _run(one: SwitchedOn, number: int) -> None:
    _checks(one)[number]()
