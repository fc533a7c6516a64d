"""Plug-ins: which there are, and those that the settings switch on, which alone are loaded."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial, reduce
from importlib.metadata import Distribution, EntryPoint, distributions, entry_points
from pathlib import Path
from typing import Any, Final

from collectors.sources.kinds import SHIPPED, SourceKind
from domain.classes import LabelKind
from domain.errors import AlphaPulseError, UnknownNameError, UsageError, nearest
from services.classes.catalogue import LABELS
from services.features.kinds import CandleKind, CandleSet
from services.models.catalogue import BUILT_IN, Catalogue
from services.models.derived import set_id
from services.models.kinds import FeatureKind, FittedKind, OnlineKind
from services.models.variants import Variant, with_variant
from services.signals.kinds import POLICIES, PolicyKind

GROUPS: Final = (  # of entry points
    *("alphapulse.models", "alphapulse.features", "alphapulse.candles"),
    *("alphapulse.policies", "alphapulse.labels", "alphapulse.sources"),
)
FOLDER: Final = "plugins"  # of the state folder
OBJECT: Final = "PLUGIN"  # what a file there defines
MODULE: Final = "alphapulse_plugins"  # its module is named this and as the file
_OF_EXTRA: Final = re.compile(r"(?P<name>[\w.-]+).*;.*\bextra == ['\"](?P<extra>[\w.-]+)['\"]")


class PluginError(AlphaPulseError):
    """A plug-in that cannot be used: it is not what it should be, or fails a check."""


class UnfitPluginError(PluginError, UsageError):
    """A plug-in that is there, and is something else than a setting wants."""


class UnknownPluginError(UnknownNameError):
    """A name that neither an installed package nor a file of the state folder has."""

    noun = "plug-in"
    none = f"none is known: one is installed, or a file in {FOLDER}/ of the state folder"


class UnknownCandlesError(UnknownPluginError):
    """A name that no plug-in of a candle feature set has."""

    noun = "candle feature set"


class UnknownPolicyError(UnknownNameError):
    """A name that is no signal policy of the release, and no plug-in."""

    noun = "signal policy"


class UnknownLabelError(UnknownNameError):
    """A name that is no kind of class label of the release, and no plug-in."""

    noun = "kind of label"


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchedOn:
    """Which plug-ins are loaded, and whose files they may be; worker processes are told it."""

    names: tuple[str, ...] = ()
    state: Path = Path()
    variants: tuple[Variant, ...] = ()  # of their kinds, and of those of the release

    @classmethod
    def by(cls, models: Iterable[str], others: Iterable[str], state: Path) -> SwitchedOn:
        """Those that models are of (`oak.direction` is of `oak`), and all others by name."""
        kinds = [name.partition(".")[0] for name in models if name not in BUILT_IN.names]
        rest = [name for name in others if name not in {*POLICIES, *LABELS}]
        return cls(names=tuple(dict.fromkeys((*kinds, *rest))), state=state.absolute())


NO_PLUGINS: Final = SwitchedOn()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """One that can be switched on.

    Args:
        name: of the kind that it adds.
        provider: the package or the file that it is of.
        version: of the package; of a file its SHA-256.
        load: imports it.
        group: of its entry point; empty: a file, which says what it adds once it is run.
        lacks: what it needs and is not installed, in words; empty: nothing.
    """

    name: str
    provider: str
    version: str
    load: Callable[[], Any]
    group: str = ""
    lacks: str = ""


def plugins(state: Path) -> dict[str, Plugin]:
    """All that are installed or lie in the state folder, by name; nothing of them is run.

    Raises:
        PluginError: two have the same name.
    """
    found: dict[str, Plugin] = {}
    for plugin in (*_installed(), *_files(state / FOLDER)):
        other = found.setdefault(plugin.name, plugin)
        if other is not plugin:
            both = f"{other.provider} and {plugin.provider}"
            raise PluginError(f"two plug-ins are called {plugin.name}: of {both}")
    return found


def refuse_unknown(place: str, names: Iterable[str], state: Path) -> None:
    """See that there are such kinds, or at least plug-ins, of these names.

    Args:
        place: of `Known`, or `features`.
        names: as settings have them.
        state: the folder.

    Raises:
        UnknownNameError: one is not there.
        PluginError: two plug-ins have the same name.
    """
    ours, unknown = _NAMED[place]
    found, groups = plugins(state), ("", f"alphapulse.{place}")
    fits = (*ours, *(one.name for one in found.values() if one.group in groups))
    for name in names:
        if name not in ours and name not in found:
            known = fits if nearest(name, fits) else tuple(ours) or fits
            raise unknown(name, known, _SETTINGS[place])


def find(name: str, state: Path) -> Plugin:
    """The plug-in `name`.

    Raises:
        UnknownPluginError: there is none.
        PluginError: two have the same name.
    """
    found = plugins(state)
    if name not in found:
        raise UnknownPluginError(name, found)
    return found[name]


def known_models(
    state: Path, variants: Sequence[Variant]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The models of the release and of variants, fitted and online, with the plug-ins' names.

    What a plug-in adds is known once it is loaded, and so is what can be varied of it.

    Raises:
        PluginError: two plug-ins have the same name.
        UsageError: a variant cannot be.
    """
    found = plugins(state)
    ours = [one for one in variants if one.kind not in found]
    fitted = reduce(with_variant, ours, BUILT_IN).recipes
    others = [name for one in variants if one.kind in found for name in one.models]
    return (*fitted, *others, *found), (*BUILT_IN.learners, *found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """The kinds of this release, and what plug-ins add."""

    catalogue: Catalogue = BUILT_IN
    policies: Mapping[str, PolicyKind] = field(default_factory=lambda: POLICIES)
    labels: Mapping[str, LabelKind] = field(default_factory=lambda: LABELS)
    sources: Mapping[str, SourceKind] = field(default_factory=dict)
    candles: Mapping[str, CandleKind] = field(default_factory=dict)

    @property
    def parts(self) -> Mapping[str, object]:
        """Everything that has a name here."""
        models = {one.name: one for one in self.catalogue.parts}
        return {**models, **self.policies, **self.labels, **self.sources, **self.candles}


# Where a kind with these methods goes: in a `Catalogue`, and beside it in `Known`.
_Ports = Mapping[str, type[object]]
_OF_CATALOGUE: Final[_Ports] = {
    "features": FeatureKind,
    "fitted": FittedKind,
    "online": OnlineKind,
}
_BESIDE_IT: Final[_Ports] = {
    "policies": PolicyKind,
    "labels": LabelKind,
    "sources": SourceKind,
    "candles": CandleKind,
}
# What is there without a plug-in, and what is raised of a name that is not.
_NAMED: Final[Mapping[str, tuple[Iterable[str], type[UnknownNameError]]]] = {
    "features": ((), UnknownPluginError),
    "sources": ((), UnknownPluginError),
    "candles": ((), UnknownCandlesError),
    "policies": (POLICIES, UnknownPolicyError),
    "labels": (LABELS, UnknownLabelError),
}
_SETTINGS: Final = {
    "features": "training.features or that of a variant",
    "sources": "sources.plugins",
    "candles": "training.candidate",
    "policies": "signals.policy",
    "labels": "training.labels",
}
_CALLED: Final = {
    "policies": "signal policy",
    "labels": "kind of label",
    "sources": "source",
    "candles": "candle feature set",
}


@lru_cache(maxsize=8)
def known(switched_on: SwitchedOn) -> Known:
    """The kinds of this release, and what the plug-ins that are switched on add.

    Raises:
        UnknownPluginError: one is not there.
        PluginError: one is no kind of anything, or of a name that is taken.
        UsageError: a variant cannot be.
    """
    all_of_them = Known()
    for name in switched_on.names:
        all_of_them = _with(all_of_them, find(name, switched_on.state))
    return replace(
        all_of_them,
        catalogue=reduce(with_variant, switched_on.variants, all_of_them.catalogue),
    )


def catalogue_of(switched_on: SwitchedOn) -> Catalogue:
    """The models and feature sets of `known`."""
    return known(switched_on).catalogue


def policy_named(name: str, switched_on: SwitchedOn) -> PolicyKind:
    """The signal policy `name`; raises as `_named`."""
    policy: PolicyKind = _named("policies", (name,), switched_on)[0]
    return policy


def labels_named(names: Iterable[str], switched_on: SwitchedOn) -> tuple[LabelKind, ...]:
    """The kinds of class label `names`; raises as `_named`."""
    return tuple(_named("labels", names, switched_on))


def sources_named(names: Iterable[str], switched_on: SwitchedOn) -> tuple[SourceKind, ...]:
    """The sources `names` of plug-ins; raises as `_named`."""
    return tuple(_named("sources", names, switched_on))


def candles_named(name: str, switched_on: SwitchedOn) -> CandleKind:
    """The candle feature set `name` of a plug-in; raises as `_named`."""
    kind: CandleKind = _named("candles", (name,), switched_on)[0]
    return kind


def _named(place: str, names: Iterable[str], switched_on: SwitchedOn) -> list[Any]:
    """What stands under these names in a place of `Known`, each once.

    Raises:
        UnfitPluginError: the plug-in of one of them is something else.
    """
    there = getattr(known(switched_on), place)
    for name in names:
        if name not in there:
            where = f"setting {_SETTINGS[place]}"
            raise UnfitPluginError(f"{where}: plug-in {name}: it is no {_CALLED[place]}")
    return [there[name] for name in dict.fromkeys(names)]


def feature_sets(catalogue: Catalogue, names: Iterable[str]) -> tuple[str, ...]:
    """The feature sets of plug-ins, as recipes name them.

    Raises:
        PluginError: a plug-in is none.
    """
    known = {one.name: set_id(one) for one in catalogue.features}
    for name in names:
        if name not in known:
            raise PluginError(f"plug-in {name}: it is no feature set, but a kind of model")
    return tuple(known[name] for name in names)


def _with(known: Known, plugin: Plugin) -> Known:
    if plugin.lacks:
        raise PluginError(f"plug-in {plugin.name}: {plugin.lacks}")
    kind = plugin.load()
    if getattr(kind, "name", None) != plugin.name:
        raise PluginError(f"plug-in {plugin.name}: it registers {kind!r}, which has another name")
    if plugin.name in known.parts or (isinstance(kind, SourceKind) and kind.name in SHIPPED):
        raise PluginError(f"plug-in {plugin.name}: that name is taken")
    more = _provided(known.catalogue, kind, plugin)
    for place, port in _OF_CATALOGUE.items():
        if isinstance(kind, port):
            wider: dict[str, Any] = {place: (*getattr(more, place), kind)}
            return replace(known, catalogue=replace(more, **wider))
    for place, port in _BESIDE_IT.items():
        if isinstance(kind, port):
            there: dict[str, Any] = {place: {**getattr(known, place), plugin.name: kind}}
            return replace(known, catalogue=more, **there)
    raise PluginError(f"plug-in {plugin.name}: it has the methods of no kind")


def _provided(catalogue: Catalogue, kind: object, plugin: Plugin) -> Catalogue:
    """With what fits say of where a kind came from."""
    provider = {plugin.name: {plugin.provider: plugin.version}}
    candles = {CandleSet.of(kind).id: kind} if isinstance(kind, CandleKind) else {}
    return replace(
        catalogue,
        providers={**catalogue.providers, **provider},
        candles={**catalogue.candles, **candles},
    )


def _installed() -> Iterator[Plugin]:
    for point in (point for group in GROUPS for point in entry_points(group=group)):
        provider, version = _distribution(point)
        yield Plugin(
            name=point.name,
            provider=provider,
            version=version,
            load=point.load,
            group=point.group,
            lacks=lacking(point.dist, point.extras) if point.dist else "",
        )


def lacking(package: Distribution, extras: Iterable[str]) -> str:
    """Which packages of the extras that an entry point names are not installed, in words."""
    for extra in extras:
        named = (_OF_EXTRA.match(one) for one in package.requires or ())
        needed = [one["name"] for one in named if one and one["extra"] == extra]
        absent = [name for name in needed if not any(distributions(name=name))]
        if absent:
            return f"needs {', '.join(absent)}: install {package.name}[{extra}]"
    return ""


def _distribution(point: EntryPoint) -> tuple[str, str]:
    return (point.dist.name, point.dist.version) if point.dist else (point.module, "")


def _files(folder: Path) -> Iterator[Plugin]:
    for path in sorted(folder.glob("*.py")):
        try:
            sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            place = f"{FOLDER}/{path.name}"
            raise PluginError(f"{place} cannot be read: {error.strerror}") from error
        yield Plugin(
            name=path.stem,
            provider=f"{FOLDER}/{path.name}",
            version=f"sha256:{sha256}",
            load=partial(_load_file, path),
        )


def _load_file(path: Path) -> object:
    """What the file defines as `PLUGIN`.

    Raises:
        PluginError: nothing.
    """
    name = f"{MODULE}.{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PluginError(f"plug-in {path.stem}: {path.name} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses and pickles look for it
    spec.loader.exec_module(module)
    if not hasattr(module, OBJECT):
        raise PluginError(f"plug-in {path.stem}: {path.name} defines no {OBJECT}")
    return getattr(module, OBJECT)
