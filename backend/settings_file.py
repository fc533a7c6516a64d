"""The settings for people: annotated TOML, its JSON Schema, and what is in force by whom."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from backend.setting_tables import held_by
from backend.settings import PREFIX, SETTINGS_FILE, Settings, table

SCHEMA_FILE: Final = Path("docs/alphapulse.schema.json")
_PLAIN: Final = (str, float, SecretStr)  # a table of these names them one by one
_EXAMPLES: Final = {  # of what is named by its user
    "exchange": "binance",
    "sources.feeds": 'name = "https://…"',
    "sources.keys": 'name = "…"',
    "ledger.fees": "kraken = 25.0",
    "notify.channels": "ops",
    "training.variants": "shallow",
}


def schema() -> str:
    """The JSON Schema of the settings file."""
    described = Settings.model_json_schema()
    described["title"] = "alphapulse.toml"
    described["additionalProperties"] = False  # an unknown name is refused
    return json.dumps(described, indent=2, ensure_ascii=False) + "\n"


def annotated(chosen: Mapping[str, Any]) -> str:
    """Every setting with what it is for: those `chosen` are set, the defaults commented out."""
    lines = [f"#:schema ./{SCHEMA_FILE}"] if SCHEMA_FILE.exists() else []
    lines += ["# Settings of AlphaPulse. Flags come first, then ALPHAPULSE_* variables, then this"]
    lines += ["# file. What is commented out is the default.", ""]
    lines += _table(Settings, chosen)
    return "\n".join(lines).rstrip() + "\n"


def _table(group: type[BaseModel], chosen: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """The settings of `group`, then its tables: TOML wants that order."""
    tables = {}
    for name, field in group.model_fields.items():
        if (within := held_by(field)) is not None:
            tables[name] = within
            continue
        yield from _setting(name, field, chosen)
    for name, within in tables.items():
        place, given = f"{path}{name}", chosen.get(name)
        yield ""
        about = group.model_fields[name].description
        yield f"# {about or within.__doc__}"
        kind = get_origin(group.model_fields[name].annotation)
        if within in _PLAIN or kind is dict:
            yield from _named_tables(place, within, given or {})
        elif kind is tuple:
            yield from _repeated_tables(place, within, given or ())
        elif given is None and group.model_fields[name].default is None:
            yield from _commented(within, place)
        else:
            yield f"[{place}]"
            yield from _table(within, given or {}, f"{place}.")


def _named_tables(place: str, within: type, given: Mapping[str, Any]) -> Iterator[str]:
    """Tables whose names are the user's; an example where there is none."""
    if within in _PLAIN:
        yield f"[{place}]" if given else f"# [{place}]"
        yield from ([_line(*one) for one in given.items()] or [f"# {_EXAMPLES[place]}"])
        return
    for name, values in given.items():
        yield f"[{place}.{_key(name)}]"
        yield from _table(within, values, f"{place}.{_key(name)}.")
    if not given:
        yield from _commented(within, f"{place}.{_EXAMPLES[place]}")


def _repeated_tables(
    place: str, within: type[BaseModel], given: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    """A table for each of several without names; an example where there is none."""
    for values in given:
        yield f"[[{place}]]"
        yield from _table(within, values)
    if not given:
        yield from _commented(within, f"[{place}]")


def _commented(within: type[BaseModel], place: str) -> Iterator[str]:
    yield f"# [{place}]"
    yield from _table(within, {}, f"{place}.")


def _setting(name: str, field: FieldInfo, chosen: Mapping[str, Any]) -> Iterator[str]:
    yield f"# {field.description}"
    if name in chosen:
        yield _line(name, chosen[name])
        return
    if field.is_required() or field.default is None:
        yield f"# {name} ="
    else:
        yield f"# {_line(name, field.default)}"


def _line(name: str, value: object) -> str:
    """One setting; TOML spells these values as JSON does."""
    return f"{_key(name)} = {json.dumps(to_jsonable_python(value), ensure_ascii=False)}"


def _key(name: str) -> str:
    """A name as TOML has it.

    >>> _key("binance"), _key("a b")
    ('binance', '"a b"')
    """
    return name if re.fullmatch("[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)


def in_force(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """Each setting's name, value (secrets masked) and where it comes from."""
    there = table()
    for name, value in _flatten(settings.model_dump(mode="json")):
        variable = PREFIX + name.upper().replace(".", "__")
        if variable in os.environ:
            origin = variable
        elif _in_table(there, name):
            origin = str(SETTINGS_FILE)
        else:
            origin = "default"
        yield name, value, origin


def _flatten(document: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in document.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", "" if value is None else str(value)


def _in_table(there: Mapping[str, Any], name: str) -> bool:
    node: Any = there
    for part in name.split("."):
        if not isinstance(node, Mapping) or part not in node:
            return False
        node = node[part]
    return True
