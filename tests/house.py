"""The house as its files describe it: `python -m tests.house tree` prints every purpose."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("domain", "collectors", "services", "alphapulse_testing", "backend", "client")
FOLDERS = (*SOURCES, "migrations", "tests")
COMMAND = re.compile(r"(?<![\w./-])(make|alphapulse)((?:[ \t]+[^\s`|)#;]+)*)")


def modules(*folders: str) -> Iterator[Path]:
    """The Python files below `folders`, by name."""
    for folder in folders:
        yield from sorted((ROOT / folder).rglob("*.py"))


def purpose(path: Path) -> str | None:
    """The first line of a file's docstring; None where there is none."""
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    return docstring.splitlines()[0] if docstring else None


def table(document: str, heading: str) -> list[list[str]]:
    """The rows of the first table below a heading, its own heading left out.

    Cells lose their code marks: `` `a.b` `` reads a.b.
    """
    lines = (ROOT / document).read_text().partition(f"\n{heading}\n")[2].splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("|"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip().replace("`", "") for cell in line.strip("|").split("|")])
    return rows


def block(document: str, heading: str) -> list[str]:
    """The lines of the first fenced block below a heading."""
    text = (ROOT / document).read_text().partition(f"\n{heading}\n")[2]
    return text.partition("```")[2].partition("\n")[2].partition("```")[0].splitlines()


def commands(document: str) -> set[tuple[str, ...]]:
    """What a document tells its reader to type: `make …` and `alphapulse …` within code."""
    text = (ROOT / document).read_text()
    fenced = re.findall(r"^```(?:sh|console)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    code = [*"\n".join(fenced).replace("\\\n", " ").splitlines(), *re.findall(r"`([^`]+)`", prose)]
    found = (COMMAND.match(line.strip().removeprefix("$ ")) for line in code)
    return {tuple(match.group().split()) for match in found if match}


def tree() -> Iterator[str]:
    """Each file with its purpose, folder by folder."""
    folder = None
    for path in modules(*FOLDERS):
        if path.parent != folder:
            folder = path.parent
            yield f"\n{folder.relative_to(ROOT)}/"
        if path.stat().st_size:
            yield f"  {path.name:24} {purpose(path)}"


if __name__ == "__main__":
    if sys.argv[1:] != ["tree"]:
        sys.exit("usage: python -m tests.house tree")
    sys.stdout.write("\n".join(tree()).lstrip("\n") + "\n")
