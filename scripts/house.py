"""Figures of the house: files, lines, functions, import circles and depth, and what a request passes through.

    python scripts/house.py                # this checkout
    python scripts/house.py ../other       # another one, for figures before and after

The last row runs the demo model inline in this environment and counts the files of the checkout that run between a
claim at the coordinator and the record of the answer; `--no-run` leaves it out.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from pathlib import Path

LONG_FILE = 400
LONG_FUNCTION = 100

_TRACED = """
import json, os, sys, threading
import muster
from muster.cli import app  # all that a command imports before it works
try:
    from muster.coordinator.coordinator import Coordinator
except ImportError:  # before the room was divided
    from muster.distributed.coordinator import Coordinator

home = os.path.dirname(muster.__file__)
seen = set()

def look(frame, event, _):
    if event == "call" and frame.f_code.co_filename.startswith(home):
        seen.add(os.path.relpath(frame.f_code.co_filename, home))

pull, answer = Coordinator.pull, Coordinator.answer

def traced_pull(self, *arguments, **named):
    sys.setprofile(look)
    threading.setprofile(look)
    return pull(self, *arguments, **named)

def traced_answer(self, *arguments, **named):
    recorded = answer(self, *arguments, **named)
    sys.setprofile(None)
    threading.setprofile(None)
    return recorded

Coordinator.pull, Coordinator.answer = traced_pull, traced_answer
muster.evaluate("demo", ["digits_read"], output=sys.argv[1], limit=8, engine="inline")
print(json.dumps(sorted(seen)))
"""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "checkout",
        type=Path,
        nargs="?",
        default=Path(__file__).resolve().parents[1],
        help="default: this one",
    )
    parser.add_argument("--no-run", action="store_true", help="leave out what needs a run")
    given = parser.parse_args()
    rows = figures(given.checkout)
    if not given.no_run:
        rows["files of ours that run for a request, inline"] = str(len(files_of_a_request(given.checkout)))
    width = max(map(len, rows))
    for name, value in rows.items():
        print(f"{name:{width}}  {value}")


def figures(checkout: Path) -> dict[str, str]:
    """What can be read off the sources."""
    sources = {path: path.read_text(encoding="utf-8") for path in sorted((checkout / "src").rglob("*.py"))}
    lines = {path: text.count("\n") for path, text in sources.items()}
    functions = {
        f"{path.relative_to(checkout)}:{function.name}": (function.end_lineno or 0) - function.lineno + 1
        for path, text in sources.items()
        for function in ast.walk(ast.parse(text))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    imports = imports_of(checkout / "src")
    longest, function = max(lines, key=lines.__getitem__), max(functions, key=functions.__getitem__)
    tests = sum(path.read_text(encoding="utf-8").count("\n") for path in (checkout / "tests").rglob("*.py"))
    return {
        "files": f"{len(sources):,}",
        "lines": f"{sum(lines.values()):,}",
        "lines of tests": f"{tests:,}",
        "top-level folders and files": str(
            sum(1 for each in (checkout / "src/muster").iterdir() if each.name != "__pycache__")
        ),
        "longest file": f"{lines[longest]} ({longest.relative_to(checkout)})",
        f"files over {LONG_FILE} lines": str(sum(count > LONG_FILE for count in lines.values())),
        "longest function": f"{functions[function]} ({function})",
        f"functions over {LONG_FUNCTION} lines": str(
            sum(count > LONG_FUNCTION for count in functions.values())
        ),
        "circles of imports": "; ".join(" ↔ ".join(sorted(circle)) for circle in circles(imports)) or "none",
        "depth of imports": str(depth(imports)),
        "most imports of our own modules": "{1} ({0})".format(
            *max(((name, len(named)) for name, named in imports.items()), key=lambda pair: pair[1])
        ),
    }


def imports_of(folder: Path) -> dict[str, set[str]]:
    """By module, the modules of `folder` that it imports, anywhere in it: also inside functions and for types alone.

    `from package import module` is an import of the module, not of the package.
    """
    modules = {_name(path, folder): path for path in sorted(folder.rglob("*.py"))}
    return {
        name: set(_imported(ast.parse(path.read_text(encoding="utf-8")), modules)) - {name}
        for name, path in modules.items()
    }


def _name(path: Path, folder: Path) -> str:
    parts = path.relative_to(folder).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(tree: ast.AST, modules: Mapping[str, Path]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names if each.name in modules)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for each in node.names:
                inner = f"{node.module}.{each.name}"
                if inner in modules:
                    yield inner
                elif node.module in modules:
                    yield node.module


def circles(imports: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of modules of which each reaches every other one."""
    reached = {name: _reach(name, imports) for name in imports}
    found: list[list[str]] = []
    for name in imports:
        circle = [other for other in reached[name] if name in reached[other]]
        if len(circle) > 1 and not any(name in known for known in found):
            found.append(circle)
    return found


def _reach(start: str, imports: Mapping[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        for other in imports[waiting.pop()]:
            if other not in seen:
                seen.add(other)
                waiting.append(other)
    return seen


def depth(imports: Mapping[str, set[str]]) -> int:
    """Modules on the longest way down; a circle counts as one."""
    circle_of = {name: min(circle) for circle in circles(imports) for name in circle}
    graph: dict[str, set[str]] = {}
    for name, named in imports.items():
        own = circle_of.get(name, name)
        graph.setdefault(own, set()).update(circle_of.get(each, each) for each in named)
        graph[own].discard(own)
    levels: dict[str, int] = {}
    for name in TopologicalSorter(graph).static_order():
        levels[name] = 1 + max((levels[each] for each in graph.get(name, ())), default=0)
    return max(levels.values())


def files_of_a_request(checkout: Path) -> list[str]:
    """Files of the package in which something was called between the first claim and the first completion's record."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", _TRACED, str(Path(folder) / "run")],
            env=os.environ | {"PYTHONPATH": str(checkout / "src")},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        sys.exit(f"the demo run failed:\n{done.stderr}")
    files: list[str] = json.loads(done.stdout.splitlines()[-1])
    return files


if __name__ == "__main__":
    main()
