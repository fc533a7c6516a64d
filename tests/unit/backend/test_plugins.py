"""Plug-ins: found without being run, loaded where settings name them, refused in one line."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from alphapulse_testing.panel import panel_examples
from backend import settings
from backend.asked import not_asked, web_sources
from backend.learning.plan import LearningPlan
from backend.panel import Panel, PanelKey
from backend.plugin_checks import admit, check_plugin, list_plugins
from backend.plugins import (
    NO_PLUGINS,
    PluginError,
    SwitchedOn,
    UnknownLabelError,
    UnknownPluginError,
    UnknownPolicyError,
    catalogue_of,
    plugins,
    sources_named,
)
from backend.settings import Settings, SourceSettings, UnknownModelError
from backend.settings_file import in_force
from backend.wiring import decided_by, labels_of
from collectors.sources.feeds import FEEDS
from collectors.sources.kinds import SHIPPED
from collectors.sources.session import open_session
from domain.classes import label_id
from domain.events import Role
from domain.market import Timeframe
from services.features.feature_set import OHLCV
from services.models.catalogue import BUILT_IN
from services.models.kinds import OnlineKind
from services.models.online import RiverSoftmax
from services.models.river_kind import RiverKind
from services.signals.policy import PolicySettings
from tests.doubles import ManualClock

EXAMPLE = Path(__file__).parents[3] / "examples/plugin/alphapulse_example/naive_bayes.py"
NAMED = """
OAK = Recipe(kind="oak", target=Target.DIRECTION, parameters={"share": 0.1})
PLUGIN = NaiveBayesKind(name="oak", recipes=(OAK,))
"""
WHOLE = EXAMPLE.read_text() + NAMED
PATIENT = (EXAMPLE.parent / "patience.py").read_text() + "PLUGIN = PATIENCE\n"
LEADING = (EXAMPLE.parent / "leader.py").read_text() + "PLUGIN = LEADER\n"
HALVED = WHOLE.replace(
    "where(known.any(axis=1, keepdims=True), chances,", "where(True, chances / 2,"
)

Put = Callable[..., Path]


@pytest.fixture
def put(tmp_path: Path) -> Put:
    """Write a file of the state folder's `plugins/`; the state folder."""

    def write(text: str, name: str = "oak") -> Path:
        (tmp_path / "plugins").mkdir(exist_ok=True)
        (tmp_path / "plugins" / f"{name}.py").write_text(text)
        return tmp_path

    return write


def switched_on(state: Path, *kinds: str, online: str | None = None) -> Settings:
    training = {"kinds": kinds} | ({"online": (online,)} if online else {})
    return Settings(state=state, training=training)


def test_what_is_there_is_listed_and_nothing_of_it_is_run(
    put: Put, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "raise RuntimeError('I was run')"
    state = put(text)

    list_plugins(Settings(state=state))

    sha256 = hashlib.sha256(text.encode()).hexdigest()
    said = capsys.readouterr().out.splitlines()
    assert f"off oak of plugins/oak.py sha256:{sha256}" in said
    assert any(line.startswith("off forest of alphapulse ") for line in said)


@pytest.fixture
def half_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package whose extra was not installed with it; the folder that it is in."""
    folder = tmp_path / "packages"
    (folder / "elms-2.0.dist-info").mkdir(parents=True)
    (folder / "elms-2.0.dist-info/METADATA").write_text(
        "Metadata-Version: 2.1\nName: elms\nVersion: 2.0\nProvides-Extra: nn\n"
        'Requires-Dist: numpy>=2\nRequires-Dist: numpy>=2; extra == "nn"\n'
        'Requires-Dist: never-published>=1; extra == "nn"\n'
        'Requires-Dist: nor-this; python_version > "3" and extra == "nn"\n'
        'Requires-Dist: of-another; extra == "other"\n'
    )
    (folder / "elms-2.0.dist-info/entry_points.txt").write_text(
        "[alphapulse.models]\nelm = nothing.of_that_name:ELM [nn]\n"
    )
    monkeypatch.syspath_prepend(folder)
    return tmp_path


async def test_a_plugin_whose_extra_is_not_installed_says_what_it_needs(
    half_installed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And nothing else changes."""
    needs = "needs never-published, nor-this: install elms[nn]"

    list_plugins(Settings(state=half_installed))

    said = capsys.readouterr().out.splitlines()
    assert f"off elm of elms 2.0; {needs}" in said
    assert sum("needs" in line for line in said) == 1
    chosen = switched_on(half_installed, "elm.direction")
    with pytest.raises(PluginError, match=re.escape(f"plug-in elm: {needs}")):
        catalogue_of(chosen.plugins)
    with pytest.raises(PluginError, match=re.escape(f"plug-in elm: {needs}")):
        await check_plugin("elm", chosen)
    assert catalogue_of(NO_PLUGINS) is BUILT_IN


def test_only_what_settings_name_is_loaded(put: Put) -> None:
    put("raise RuntimeError('I was run')", "elm")
    state = put(WHOLE)

    chosen = switched_on(state, "logistic.direction", "oak.direction").plugins

    assert chosen.names == ("oak",)
    catalogue = catalogue_of(chosen)
    assert [kind.name for kind in catalogue.fitted[len(BUILT_IN.fitted) :]] == ["oak"]
    assert catalogue_of(NO_PLUGINS) is BUILT_IN
    plan = LearningPlan.of(
        switched_on(state, "oak.direction").training, Timeframe.H1, seed=1, plugins=chosen
    )
    assert [recipe.name for recipe in plan.recipes] == ["oak.direction"]


def test_the_environment_of_a_fit_names_the_plugin_and_its_version(put: Put) -> None:
    state = put(WHOLE)

    catalogue = catalogue_of(SwitchedOn(names=("oak",), state=state))
    environment = catalogue.environment(catalogue.recipes["oak.direction"])

    sha256 = hashlib.sha256(WHOLE.encode()).hexdigest()
    assert environment["plugins/oak.py"] == f"sha256:{sha256}"
    assert environment.keys() == {"numpy", "plugins/oak.py"}
    logistic = BUILT_IN.recipes["logistic.direction"]
    assert set(BUILT_IN.environment(logistic)) == {"numpy", "scikit-learn"}


def test_a_name_that_nobody_has_is_refused(put: Put) -> None:
    state = put(WHOLE)

    with pytest.raises(UnknownModelError, match=r"unknown model 'oka\.direction'; nearest: "):
        switched_on(state, "oka.direction")
    with pytest.raises(UnknownModelError, match=r"unknown model 'oak\.online'"):
        settings.Settings(state=state / "elsewhere", training={"online": ("oak.online",)})
    with pytest.raises(UnknownModelError, match=r"unknown model 'river\.direction'"):
        switched_on(state, "river.direction")
    with pytest.raises(UnknownPluginError, match="unknown plug-in 'tempo'"):
        Settings(state=state, training={"features": ("tempo",)})
    with pytest.raises(UnknownPluginError, match="unknown plug-in 'elm'"):
        catalogue_of(SwitchedOn(names=("elm",), state=state))


def test_who_names_what_is_not_there_is_told_of_what_fits_alone(put: Put) -> None:
    """A file may be anything until it is run; what is installed says what it is."""
    state = put(WHOLE)

    for candidate in ("ohlcv2", "forests"):
        with pytest.raises(UnknownPluginError, match=r"known: oak$"):
            Settings(state=state, training={"candidate": candidate})
    with pytest.raises(UnknownPluginError, match=r"nearest: oak$"):
        Settings(state=state, training={"candidate": "oaks"})
    words = r"^setting training\.candidate: unknown candle feature set 'ohlcv2'; none is known: one"
    with pytest.raises(UnknownPluginError, match=words):
        Settings(state=state / "elsewhere", training={"candidate": "ohlcv2"})
    with pytest.raises(ValidationError, match="ohlcv@2 is a set: the name of the plug-in"):
        Settings(state=state, training={"candidate": "ohlcv@2"})


def test_a_target_that_the_plugin_does_not_forecast_is_refused(put: Put) -> None:
    chosen = switched_on(put(WHOLE), "oak.volatility")

    with pytest.raises(UnknownModelError, match=r"unknown model 'oak\.volatility'"):
        LearningPlan.of(chosen.training, Timeframe.H1, seed=1, plugins=chosen.plugins)


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        ("x = 1", "oak", "plug-in oak: oak.py defines no PLUGIN"),
        ("PLUGIN = 1", "oak", "plug-in oak: it registers 1, which has another name"),
        (WHOLE, "elm", "plug-in elm: it registers NaiveBayesKind"),
        (WHOLE.replace("oak", "lightgbm"), "lightgbm", "that name is taken"),
        ("class PLUGIN: name = 'oak'", "oak", "it has the methods of no kind"),
    ],
)
def test_what_is_no_kind_of_model_is_refused(put: Put, text: str, name: str, said: str) -> None:
    state = put(text, name)

    with pytest.raises(PluginError, match=said):
        catalogue_of(SwitchedOn(names=(name,), state=state))


def test_two_of_one_name_are_refused(put: Put) -> None:
    state = put(WHOLE, "forest")

    with pytest.raises(PluginError, match="two plug-ins are called forest: of alphapulse and "):
        plugins(state)


async def test_one_that_breaks_a_promise_is_refused_by_name(put: Put) -> None:
    """In a process of its own, which is all that a spawned worker knows of it."""
    state = put(HALVED)

    refusal = "plug-in oak refused: oak.direction: a forecast is well formed: probabilities"
    with pytest.raises(PluginError, match=refusal):
        await admit(switched_on(state, "oak.direction"))


async def test_one_that_cannot_be_imported_is_refused_in_one_line(put: Put) -> None:
    state = put("import nothing_of_that_name")

    with pytest.raises(PluginError) as refusal:
        await admit(switched_on(state, "oak.direction"))

    assert "plug-in oak cannot be loaded: ModuleNotFoundError: No module" in str(refusal.value)
    assert "\n" not in str(refusal.value)


async def test_why_one_is_no_plugin_is_said_once(put: Put) -> None:
    state = put("x = 1")

    with pytest.raises(PluginError, match=r"^plug-in oak: oak\.py defines no PLUGIN$"):
        await admit(switched_on(state, "oak.direction"))


async def test_one_that_ends_its_process_is_refused(put: Put) -> None:
    state = put("import os\nos._exit(3)")

    with pytest.raises(PluginError, match="plug-in oak cannot be loaded: BrokenProcessPool"):
        await admit(switched_on(state, "oak.direction"))


async def test_one_that_hangs_as_it_is_imported_is_refused_by_name(
    put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = put("import threading\nthreading.Event().wait()")
    monkeypatch.setattr("backend.plugin_checks.AT_MOST_S", 0.1)

    with pytest.raises(PluginError, match="plug-in oak was not loaded within"):
        await admit(switched_on(state, "oak.direction"))


@pytest.mark.parametrize("place", ["a folder", "a link to nothing"])
def test_what_cannot_be_read_is_named(put: Put, place: str) -> None:
    folder = put(WHOLE) / "plugins"
    elm = folder / "elm.py"
    elm.mkdir() if place == "a folder" else elm.symlink_to(folder / "nothing")

    with pytest.raises(PluginError, match=r"plugins/elm\.py cannot be read: "):
        plugins(folder.parent)


async def test_without_plugins_nothing_is_checked() -> None:
    await admit(Settings())


def test_settings_that_name_a_plugin_are_shown_as_they_are(put: Put) -> None:
    chosen = switched_on(put(WHOLE), "oak.direction")

    shown = {name: value for name, value, _ in in_force(chosen)}

    assert json.loads(shown["training.kinds"].replace("'", '"')) == ["oak.direction"]


class Other(RiverSoftmax):
    """Another name, and all else as River's."""

    @property
    def name(self) -> str:
        return "other.direction"


OTHER = RiverKind(name="other", module=__name__, learner="Other")


def test_a_learner_that_is_switched_on_later_begins_where_the_others_go_on() -> None:
    """And one that is switched off is forgotten."""
    other = {"other.direction": OTHER}
    key, tick = PanelKey(exchange="simulated", timeframe=Timeframe.H1), panel_examples(20)

    def panel(online: Mapping[str, OnlineKind]) -> Panel:
        return Panel(key, [4], clock=ManualClock(), policy=PolicySettings(), online=online)

    def learnt(of: Panel) -> dict[str, int]:
        return {one.name: one.learnt for one in of.rooms[4].learners if hasattr(one, "learnt")}

    before, after, again = (
        panel(BUILT_IN.learners),
        panel({**BUILT_IN.learners, **other}),
        panel(other),
    )
    rows = replace(tick, columns=OHLCV.columns, features=np.ones((len(tick), len(OHLCV.columns))))
    before.rooms[4].learners[-1].learn(rows)
    after.restore(before.snapshot())
    again.restore(after.snapshot())

    assert learnt(before) == {"river.direction": len(tick)}
    assert learnt(after) == {"river.direction": len(tick), "other.direction": 0}
    assert learnt(again) == {"other.direction": 0}
    seats = after.rooms[4].predictor.seats().values()
    roles = {seat.model.name: seat.role for seat in seats}
    assert roles["other.direction"] is Role.CHALLENGER


async def test_a_policy_of_a_plugin_decides_where_settings_name_it(put: Put) -> None:
    state = put(PATIENT, "patience")

    chosen = Settings(state=state, signals={"policy": "patience"})

    assert chosen.plugins.names == ("patience",)
    assert decided_by(chosen).begin.__name__ == "Patience"
    assert decided_by(Settings(state=state)).name == "thresholds"
    await admit(chosen)


async def test_a_policy_that_breaks_a_promise_is_refused(put: Put) -> None:
    careless = PATIENT.replace('gate or ("" if', '"" or ("" if')
    chosen = Settings(state=put(careless, "patience"), signals={"policy": "patience"})

    with pytest.raises(PluginError, match="a side is taken on a row that is"):
        await admit(chosen)


def test_a_policy_that_is_not_there_is_refused_in_one_line(put: Put) -> None:
    state = put(WHOLE)
    for nobody in ("profits", "oaks"):
        with pytest.raises(UnknownPolicyError, match=f"unknown signal policy '{nobody}'"):
            Settings(state=state, signals={"policy": nobody})
    with pytest.raises(PluginError, match="plug-in oak: it is no signal policy"):
        decided_by(Settings(state=state, signals={"policy": "oak"}))


async def test_a_kind_of_label_of_a_plugin_is_told_where_settings_name_it(put: Put) -> None:
    state = put(LEADING, "leader")

    chosen = Settings(state=state, training={"labels": ["regime", "leader"]})

    assert chosen.plugins.names == ("leader",)
    assert [label_id(kind) for kind in labels_of(chosen)] == ["regime@1", "leader@1"]
    assert labels_of(Settings(state=state)) == ()
    await admit(chosen)


async def test_a_kind_of_label_that_breaks_a_promise_is_refused(put: Put) -> None:
    careless = LEADING.replace("np.where(known, told, VOID)", "told")
    chosen = Settings(state=put(careless, "leader"), training={"labels": ["leader"]})

    with pytest.raises(PluginError, match="a void label has no class"):
        await admit(chosen)


def test_a_kind_of_label_that_is_not_there_is_refused_in_one_line(put: Put) -> None:
    state = put(WHOLE)
    with pytest.raises(UnknownLabelError, match="unknown kind of label 'regimes'"):
        Settings(state=state, training={"labels": ["regimes"]})
    with pytest.raises(PluginError, match="plug-in oak: it is no kind of label"):
        labels_of(Settings(state=state, training={"labels": ["oak"]}))


async def test_a_source_of_a_plugin_is_asked_where_settings_name_it(put: Put) -> None:
    text = (EXAMPLE.parent / "notices.py").read_text()
    state = put(text + "PLUGIN = NOTICES\n", "notices")

    chosen = Settings(state=state, sources={"plugins": ["notices"]})
    told = sources_named(chosen.sources.plugins, chosen.plugins)

    await admit(chosen)
    assert not_asked(chosen.sources, told).get("notices") is None
    async with open_session() as session:
        asked = web_sources(chosen.sources, session, ManualClock(), told)
    assert asked[-1].name == "notices"


async def test_a_source_without_its_key_is_not_asked_and_says_why(put: Put) -> None:
    text = (EXAMPLE.parent / "notices.py").read_text()
    state = put(
        f"{text}\nfrom dataclasses import replace\nPLUGIN = replace(NOTICES, key='k')\n", "notices"
    )
    without = Settings(state=state, sources={"plugins": ["notices"]})
    with_it = Settings(state=state, sources={"plugins": ["notices"], "keys": {"notices": "s3"}})

    for chosen, why in ((without, "no key"), (with_it, None)):
        told = sources_named(chosen.sources.plugins, chosen.plugins)
        assert not_asked(chosen.sources, told).get("notices") == why
        async with open_session() as session:
            asked = web_sources(chosen.sources, session, ManualClock(), told)
        assert ("notices" in {one.name for one in asked}) is (why is None)
    assert "s3" not in repr(with_it)


def test_what_is_no_source_is_not_asked(put: Put) -> None:
    state = put(WHOLE)
    with pytest.raises(UnknownPluginError, match="unknown plug-in 'nobody'"):
        Settings(state=state, sources={"plugins": ["nobody"]})
    chosen = Settings(state=state, sources={"plugins": ["oak"]})
    with pytest.raises(PluginError, match="plug-in oak: it is no source"):
        sources_named(chosen.sources.plugins, chosen.plugins)


async def test_a_check_that_hangs_ends_the_checks_and_the_rest_is_not_said_to_have_failed(
    put: Put, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.plugin_checks.AT_MOST_S", 5.0)
    text = (EXAMPLE.parent / "leader.py").read_text() + "PLUGIN = LEADER\n"
    looping = re.sub(r"(def tell\(self[^\n]*\n)", r"\1        while True: pass\n", text)
    assert looping != text

    assert await check_plugin("leader", Settings(state=put(looping, "leader"))) == 1

    *_, failed, verdict = capsys.readouterr().out.splitlines()
    assert failed.startswith("FAIL ")
    assert "it took over" in failed
    assert re.search(r": 1 of (\d+) checks failed, \d+ were not run$", verdict)


async def test_a_source_of_a_shipped_sources_name_is_refused(put: Put) -> None:
    text = (EXAMPLE.parent / "notices.py").read_text().replace('"notices"', '"gdelt"', 1)
    chosen = Settings(
        state=put(text + "PLUGIN = NOTICES\n", "gdelt"), sources={"plugins": ["gdelt"]}
    )

    with pytest.raises(PluginError, match="plug-in gdelt: that name is taken"):
        await admit(chosen)


def test_the_names_of_shipped_sources_are_all_known() -> None:
    ours = {*FEEDS, *not_asked(SourceSettings(fear_greed=False), ())}
    assert ours == SHIPPED
