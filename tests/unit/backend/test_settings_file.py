"""The annotated settings file and its schema say what the settings are."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from backend import settings
from backend.settings_file import SCHEMA_FILE, annotated, schema

ROOT = Path(__file__).parents[3]
CHOSEN = {
    "port": 9000,
    "watch": {"exchanges": ["kraken"], "symbols": ["BTC/USD"], "timeframes": ["1m"]},
    "exchange": {"kraken": {"rest_url": "http://127.0.0.1:1"}},
    "sources": {"feeds": {"mine": "https://example.org/feed"}, "news": ["mine"]},
    "notify": {
        "channels": {"phone": {"apprise": "json://127.0.0.1/"}},
        "rules": [
            {"events": ["source.down"], "channels": ["phone"]},
            {"events": ["gap.opened"], "channels": ["phone"], "timeframes": ["1h"]},
        ],
    },
}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_file_sets_what_was_chosen_and_nothing_else(tmp_path: Path) -> None:
    text = annotated(CHOSEN)
    (tmp_path / "alphapulse.toml").write_text(text)

    set_there = tomllib.loads(text)
    empty = [name for name, value in set_there.items() if value == {}]
    assert {name: value for name, value in set_there.items() if name not in empty} == CHOSEN
    assert settings.load() == settings.Settings.model_validate(CHOSEN)


def test_what_is_commented_out_is_the_default(tmp_path: Path) -> None:
    examples = r"^# \[{1,2}(\w|\.)+\]{1,2}\n(# .*\n)+"  # tables that are not there by default
    text = re.sub(examples, "", annotated({}), flags=re.MULTILINE)
    offered = re.sub(r"^# (?=\w+ = )", "", text, flags=re.MULTILINE)
    (tmp_path / "alphapulse.toml").write_text(offered)

    assert settings.load() == settings.Settings.model_validate({})
    assert "history_bars" in tomllib.loads(offered)


@pytest.mark.parametrize("group", settings.GROUPS)
def test_every_setting_of_a_group_is_in_the_file(group: str) -> None:
    text = annotated({})
    for name, field in settings.GROUPS[group].model_fields.items():
        assert re.search(rf"^(# )?(\[+\w+\.)?{name}( =|\]|\.)", text, re.MULTILINE), name
        assert f"# {field.description}\n" in text


def test_the_first_line_names_the_schema_only_where_it_is(tmp_path: Path) -> None:
    assert not annotated({}).startswith("#:schema")
    (tmp_path / SCHEMA_FILE).parent.mkdir()
    (tmp_path / SCHEMA_FILE).touch()
    assert annotated({}).splitlines()[0] == "#:schema ./docs/alphapulse.schema.json"


def test_the_published_schema_is_that_of_the_settings() -> None:
    published = (ROOT / SCHEMA_FILE).read_text()
    assert published == schema(), "alphapulse settings --schema > docs/alphapulse.schema.json"
