"""The house is as its documents say: rooms, topics, imports, commands, files."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main

from backend.api.needs import needs_at
from backend.cli import app
from backend.panel import Panel, PanelKey, cold_stages, hot_stages
from backend.setting_tables import held_by
from backend.settings import Settings
from backend.store import tables
from domain import topics
from domain.market import Timeframe
from services.signals.policy import PolicySettings
from services.stage import Stage
from tests import house
from tests.doubles import ManualClock
from tests.house import ROOT

DOCUMENTS = (
    *("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"),
    *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))),
)
LONGEST = 400  # lines of a source file
NONE = "–"  # in the table of rooms: not joined to a panel, no table
LONGER = {"backend/store/tables.py"}  # every table's columns, in one place
VENDORED = "backend/dashboard/vendor/"

every_document = pytest.mark.parametrize("document", DOCUMENTS)


def spelled(stage: Stage) -> tuple[str, str, str]:
    reads, writes = (", ".join(t.name for t in topics) for topics in (stage.reads, stage.writes))
    return stage.name, reads, writes or "–"


@cache
def tracked() -> tuple[Path, ...]:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(  # noqa: S603
        [git, "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True
    ).stdout
    paths = (ROOT / name for name in listed.split("\0") if name and VENDORED not in name)
    return tuple(path for path in paths if path.exists() and path.suffix not in {".png", ".ico"})


def contract(name: str) -> dict[str, Any]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = settings["tool"]["importlinter"]["contracts"]
    return next(one for one in contracts if one["name"].startswith(name))


def headings(document: Path) -> set[str]:
    """The anchors of a document, as GitHub makes them of its headings."""
    lines = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-") for line in lines}


def found(pattern: str) -> list[str]:
    """Where tracked files match, this one aside."""
    expression = re.compile(pattern)
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
        for path in tracked()
        if path != Path(__file__).resolve()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1)
        if expression.search(line)
    ]


def test_the_table_of_rooms_is_the_panels_stages() -> None:
    panel = Panel(
        PanelKey(exchange="simulated", timeframe=Timeframe.H1),
        [4],
        clock=ManualClock(),
        policy=PolicySettings(),
    )

    rows = house.table("ARCHITECTURE.md", "## Rooms")

    written = [
        (chain, name, reads, writes) for chain, name, _, reads, writes, _ in rows if chain != NONE
    ]
    assert written == [
        *(("hot", *spelled(stage)) for stage in hot_stages(panel)),
        *(("cold", *spelled(stage)) for stage in cold_stages(panel)),
    ]


def test_the_rooms_folders_and_tables_exist() -> None:
    rows = house.table("ARCHITECTURE.md", "## Rooms")

    assert {folder for _, _, folder, *_ in rows} == {
        f"services/{path.name}" for path in (ROOT / "services").iterdir() if path.is_dir()
    } - {"services/__pycache__"}
    assert {table for *_, table in rows} - {NONE} <= set(tables.metadata.tables)


def test_the_table_of_topics_is_the_domains() -> None:
    rows = house.table("ARCHITECTURE.md", "## Topics")

    assert rows == [
        [
            topic.name,
            topic.event.__name__,
            topic.key.replace("|", ", "),
            topic.owner.replace("|", ", "),
        ]
        for topic in vars(topics).values()
        if isinstance(topic, topics.Topic) and topic != topics.SIGNALS_LATEST
    ]


def test_the_drawings_of_imports_are_the_contracts() -> None:
    first, second = re.findall(
        r"^```\n(.*?)^```",
        (ROOT / "ARCHITECTURE.md").read_text().partition("\n## Who may import whom\n")[2],
        re.MULTILINE | re.DOTALL,
    )[:2]

    outer = [re.split(r" {2,}", line)[0] for line in first.splitlines()]
    assert outer == contract("Arrows point inward")["layers"]
    assert second.splitlines() == contract("Only the composition root")["layers"]


def test_the_import_contracts_are_kept() -> None:
    checked = subprocess.run(  # noqa: S603
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert checked.returncode == 0, checked.stdout


def test_each_file_opens_with_its_purpose() -> None:
    paths = [path for path in house.modules(*house.FOLDERS) if path.stat().st_size]
    silent = [path for path in paths if not (house.purpose(path) or "").endswith(".")]

    assert silent == []


def test_no_source_file_is_long() -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for path in house.modules(*house.SOURCES)
    }

    assert {name for name, lines in lengths.items() if lines > LONGEST} <= LONGER


@every_document
def test_every_command_of_a_document_exists(document: str) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    root = typer.main.get_command(app)

    for tool, *words in house.commands(document):
        if tool == "make":
            assert set(words[:1]) <= targets, f"{document}: make {words[0]}"
            continue
        command: Any = root
        while hasattr(command, "commands") and words:
            assert words[0] in command.commands, f"{document}: alphapulse {words[0]}"
            command = command.commands[words.pop(0)]
        known = {option for parameter in command.params for option in parameter.opts}
        flags = {word for word in words if word.startswith("--")}
        assert flags <= known | {"--help"}, f"{document}: {command.name} {flags - known}"


@every_document
def test_every_file_that_a_document_names_exists(document: str) -> None:
    text = (ROOT / document).read_text()

    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", text)
    named = re.findall(r"`((?:backend|collectors|domain|services|tests|docs)/[\w/.-]+)`", text)
    assert [name for name in links if not ((ROOT / document).parent / name).exists()] == []
    assert [name for name in named if not (ROOT / name).exists()] == []


@every_document
def test_every_heading_that_a_document_links_to_exists(document: str) -> None:
    here = ROOT / document

    links = re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", here.read_text())
    assert [
        f"{file}#{heading}"
        for file, heading in links
        if heading not in headings(here.parent / file if file else here)
    ] == []


@every_document
def test_every_setting_that_a_document_names_exists(document: str) -> None:
    groups = {
        name: group.model_fields
        for name, field in Settings.model_fields.items()
        if (group := held_by(field)) is not None and name != "exchange"  # by names of the user's
    }
    others = {one.name for one in vars(topics).values() if isinstance(one, topics.Topic)}

    named = re.findall(rf"`(({'|'.join(groups)})\.(\w+))\b", (ROOT / document).read_text())
    assert [
        setting
        for setting, group, name in named
        if name not in groups[group] and name != "py" and setting not in others
    ] == []


@every_document
def test_every_route_that_a_document_names_exists(document: str) -> None:
    text = (ROOT / document).read_text()

    named = re.findall(r"(?:\b(GET|POST|DELETE) )?(/(?:v1|udf)/[\w/{}@.:-]*[\w}])", text)
    assert [
        f"{method} {path}".strip()
        for method, path in named
        if not (needs := needs_at(path)) or (method or next(iter(needs))) not in needs
    ] == []


def test_decisions_are_numbered_and_say_why() -> None:
    pages = sorted((ROOT / "docs/decisions").glob("*.md"))

    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    for page in pages:
        text = page.read_text()
        assert text.startswith(f"# {int(page.name[:4])}. ")
        parts = re.findall(r"^\*\*(Context|Decision|Consequences)\.\*\*", text, re.MULTILINE)
        assert parts == ["Context", "Decision", "Consequences"], page.name


def test_the_licence_is_apache_2() -> None:
    text = (ROOT / "LICENSE").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert "Apache License" in text.splitlines()[0]
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert project["license"] == "Apache-2.0"


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_a_lock_has_a_hash_for_each_package_and_no_address(lock: str) -> None:
    text = re.sub(r"^\s*#.*$", "", (ROOT / lock).read_text(), flags=re.MULTILINE)
    entries = re.findall(r"^(?=\S)(.+?)(?=^\S|\Z)", text, re.MULTILINE | re.DOTALL)

    assert len(entries) > 30
    assert [
        e for e in entries if not re.match(r"[\w.\[\]-]+==\S+.*?--hash=sha256:", e, re.DOTALL)
    ] == []
    assert "://" not in text
    assert "index" not in {word.strip("-") for word in text.split() if word.startswith("--")}


def test_no_tracked_file_names_a_package_index() -> None:
    assert found(r"(?<!no-emit)(?:^|\s)--(?:extra-)?index-url|find-links") == []
    assert found(r"pypi\.(?:org|python)|pythonhosted\.org|https?://\S+/simple\b") == []


def test_no_tracked_file_names_a_place_on_somebodys_machine() -> None:
    assert found(r"(?:^|[\s\"'`=(:])/(?:root|home|work|Users)/\w") == []


def test_no_tracked_file_holds_a_secret() -> None:
    keys = r"-----BEGIN [A-Z ]*PRIVATE|AKIA[0-9A-Z]{16}|\bgh[pousr]_\w{30}|\bxox[abprs]-\w{10}"
    keys += r"|\bap_[0-9a-f]{12}_[0-9a-f]{64}"
    assert found(keys) == []
    # A password may stand in an example of an address, under a name that says that it is one.
    address = r"://[^/\s:@{}\"']+:(?!secret@|password@|hunter2@|p@ss:|\*\*\*@)[^/\s@{}\"']+@"
    assert found(address) == []


def test_every_test_that_the_table_of_faults_names_is_there() -> None:
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", (ROOT / "docs/faults.md").read_text())
    there = {file: (ROOT / "tests" / file).read_text() for file, _ in named}
    assert [name for file, name in named if f"def {name}(" not in there[file]] == []
