"""What must hold for the project as a whole: read from its files, not from running it."""

from __future__ import annotations

import ast
import functools
import graphlib
import json
import os
import re
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import pytest

Node = TypeVar("Node", bound=ast.AST)

ROOT = Path(__file__).parent.parent
LIBRARY = ROOT / "harness"


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def library() -> dict[str, Path]:
    """Name of each module of the library, and its file."""
    found = {}
    for path in sorted(LIBRARY.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


# ── requirements ─────────────────────────────────────────────────────────────────────────────────────────────────


def specified() -> list[str]:
    lines = (line for path in (ROOT / "specs").glob("*.md") for line in path.read_text().splitlines())
    return [match[1] for line in lines if (match := re.match(r"- \*\*([A-Z]{2,5}-\d{3})\*\* \S", line))]


def named_by_tests() -> set[str]:
    names: set[str] = set()
    for path in (ROOT / "tests").rglob("*.py"):
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.requirement":
                names |= {str(ast.literal_eval(argument)) for argument in node.args}
    return names


@pytest.mark.requirement("PRJ-001")
def test_requirements_and_tests_name_each_other():
    ids = specified()
    assert len(ids) == len(set(ids)), "an ID stands twice"
    assert sorted(set(ids) - named_by_tests()) == [], "requirements without a test"
    assert sorted(named_by_tests() - set(ids)) == [], "tests name requirements that do not exist"


@pytest.mark.requirement("PRJ-001")
def test_the_index_of_the_specifications_is_complete():
    listed = set(re.findall(r"^\| \[([\w-]+\.md)\]", (ROOT / "specs" / "README.md").read_text(), re.MULTILINE))
    assert listed == {path.name for path in (ROOT / "specs").glob("*.md")} - {"README.md"}


# ── imports ──────────────────────────────────────────────────────────────────────────────────────────────────────


def imports(path: Path, modules: dict[str, Path]) -> set[str]:
    """The library's modules that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in modules else str(node.module))
    return {name for name in found if name in modules}


@functools.cache
def graph() -> dict[str, set[str]]:
    """Each module, and those that are imported with it: what it names, and the packages which hold that.

    The package itself is left out: it is the front door, which loads the others on demand and which none of them uses.
    """
    modules = {name: path for name, path in library().items() if name != "harness"}
    edges = {name: imports(path, modules) for name, path in modules.items()}
    for name, known in edges.items():
        packages = {other.rpartition(".")[0] for other in known} - {"harness", ""}
        known |= {package for package in packages if not name.startswith(package)}
    return edges


# The lowest modules import exactly these stages and no other.
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "limits": set(),
    "canonical": {"errors"},
    "serializer": {"errors"},
    "stable": set(),
    "accounts": {"errors"},
    "segments": set(),
    "model": {"accounts", "errors", "canonical", "segments", "serializer", "stable"},
}
# The stages above them must not reach these, not even through other modules. What neither table names (a part of the
# parser, say) is held to the rules of whatever imports it.
OUTERMOST = {"pipeline", "onrecord", "lifecycle", "durable", "schemas", "cli", "testing", "toolkit"}
MUST_NOT_REACH: dict[str, set[str]] = {
    "detector": OUTERMOST | {"runtime", "tools", "approvals", "context", "journal", "contracts"},
    "parser": OUTERMOST | {"runtime", "approvals", "context", "journal", "contracts"},
    "context": OUTERMOST | {"detector", "parser", "runtime", "tools", "approvals", "journal", "contracts"},
    "contracts": OUTERMOST | {"detector", "parser", "runtime", "tools", "approvals", "context", "journal"},
    "approvals": OUTERMOST | {"detector", "parser", "runtime", "tools", "journal", "contracts"},
    "tools": OUTERMOST | {"detector", "parser", "runtime", "journal"},
    "toolkit": (OUTERMOST - {"toolkit"}) | {"detector", "parser", "runtime", "journal"},
    "runtime": OUTERMOST | {"detector", "parser", "tools", "approvals", "journal", "contracts"},
    "journal": OUTERMOST | {"detector", "parser"},
    "durable": OUTERMOST - {"durable"},
    "pipeline": {"schemas", "cli", "testing"},
    "schemas": {"cli", "testing"},
}
# Values and protocols, which a stage may share with its neighbours.
VALUES = {"harness.tools", "harness.tools.calls"}


def reach(start: str, edges: dict[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    todo = [start]
    while todo:
        for name in edges[todo.pop()] - seen:
            seen.add(name)
            todo.append(name)
    return seen


def stage(module: str) -> str:
    return module.split(".")[1] if "." in module else module


@pytest.mark.requirement("PRJ-002")
def test_there_is_no_circle_of_imports():
    list(graphlib.TopologicalSorter(graph()).static_order())  # raises CycleError and names the circle


@pytest.mark.requirement("PRJ-002")
@pytest.mark.parametrize("name", MAY_IMPORT)
def test_the_lowest_modules_import_little(name):
    modules = [module for module in graph() if stage(module) == name]
    assert modules
    assert {stage(other) for module in modules for other in graph()[module]} <= MAY_IMPORT[name] | {name}


@pytest.mark.requirement("PRJ-002")
@pytest.mark.parametrize("name", MUST_NOT_REACH)
def test_a_stage_does_not_reach_those_it_must_not_know(name):
    edges = graph()
    own = [module for module in edges if stage(module) == name]
    assert own, f"there is no {name}"
    forbidden = {
        f"{module} -> {other}"
        for module in own
        for other in reach(module, edges) - VALUES
        if stage(other) in MUST_NOT_REACH[name]
    }
    assert sorted(forbidden) == []


@pytest.mark.requirement("PRJ-002")
def test_only_the_outermost_modules_know_the_composer():
    users = {stage(name) for name, known in graph().items() if "harness.pipeline" in known}
    assert users <= {"cli", "testing"}


@pytest.mark.requirement("PRJ-002")
def test_the_library_does_not_use_its_own_front_door():
    for name, path in library().items():
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ImportFrom) and node.module == "harness":
                modules = [f"harness.{alias.name}" for alias in node.names]
                assert set(modules) <= set(library()), (
                    f"{name} imports {modules} from the package, which loads on demand"
                )


# ── modules ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("PRJ-003")
@pytest.mark.parametrize("path", library().values(), ids=library())
def test_modules_hold_one_thing(path):
    assert len(path.read_text().splitlines()) <= 400


def called_names(path: Path) -> Iterator[str]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)
        elif isinstance(node, ast.Raise) and node.exc is not None:
            yield ast.unparse(node.exc)


@pytest.mark.requirement("PRJ-004")
def test_only_the_command_line_ends_the_process():
    ends = re.compile(r"(sys\.)?exit|quit|SystemExit.*|typer\.Exit.*")
    found = {name for name, path in library().items() for call in called_names(path) if ends.fullmatch(call)}
    assert {stage(name) for name in found} <= {"cli"}


@pytest.mark.requirement("PRJ-004")
def test_nothing_does_work_when_it_is_collected():
    for name, path in library().items():
        methods = [node.name for node in ast.walk(tree_of(path)) if isinstance(node, ast.FunctionDef)]
        assert "__del__" not in methods, name


@pytest.mark.requirement("PRJ-004")
def test_only_the_worker_imports_the_engine():
    def engine(path: Path) -> bool:
        return bool(re.search(r"^\s*(import|from) _?quickjs\b", path.read_text(), re.MULTILINE))

    assert [name for name, path in library().items() if engine(path)] == ["harness.runtime.worker"]


# ── diagnostics ──────────────────────────────────────────────────────────────────────────────────────────────────


CODE = "[a-z]+(_[a-z]+)+"


def nodes(kind: type[Node]) -> Iterator[Node]:
    for path in library().values():
        yield from (node for node in ast.walk(tree_of(path)) if isinstance(node, kind))


def diagnostic_codes() -> set[str]:
    """Every constant that is passed as ``code`` (to ``Diagnostic`` itself, to a function with such a parameter, in a
    dictionary), and every key of a table of severities. A code has at least two words, which tells it from what other
    functions of the same name are given.
    """
    position: dict[str, int] = {}
    for function in nodes(ast.FunctionDef):
        names = [argument.arg for argument in function.args.posonlyargs + function.args.args if argument.arg != "self"]
        if "code" in names:
            position[function.name] = names.index("code")
    passed: list[ast.expr] = []
    for call in nodes(ast.Call):
        passed += [keyword.value for keyword in call.keywords if keyword.arg == "code"]
        at = position.get(ast.unparse(call.func).rsplit(".", 1)[-1])
        if at is not None:
            passed += call.args[at : at + 1]
    for table in nodes(ast.Dict):
        rows = zip(table.keys, table.values, strict=True)
        for key, value in rows:
            if isinstance(key, ast.Constant) and key.value == "code":
                passed.append(value)
            elif key is not None and ast.unparse(value).startswith("(Severity."):
                passed.append(key)
    constants = [node.value for value in passed for node in ast.walk(value) if isinstance(node, ast.Constant)]
    return {text for text in constants if isinstance(text, str) and re.fullmatch(CODE, text)}


@pytest.mark.requirement("PRJ-005")
def test_diagnostics_and_their_list_agree():
    text = (ROOT / "specs" / "diagnostics.md").read_text()
    listed = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    assert len(listed) == len(set(listed))
    assert sorted(listed) == sorted(diagnostic_codes())
    assert all(re.fullmatch(CODE, code) for code in listed)


# ── words ────────────────────────────────────────────────────────────────────────────────────────────────────────

TEXT_FILES = {".py", ".md", ".js", ".toml", ".json", ".jsonl", ".txt", ""}
UNWANTED = re.compile(
    r"/work/|/root/|/home/(?!user\b|me\b)\w|\bTODO\b|\bFIXME\b|\bXXX\b|\bHACK\b"
    r"|\b(DESIGN|ENGINE|PROTOTYPES)\.md|(?<!vectors/)attacks\.jsonl|\bthe (issue|brief)\b|\bissue \d|\bthis prototype\b"
)


@pytest.mark.requirement("PRJ-007")
def test_the_repository_speaks_of_the_project_alone():
    places = [ROOT / name for name in ("harness", "tests", "docs", "specs", "examples", "benchmarks", ".ci")]
    files = [path for place in places for path in place.rglob("*") if path.is_file()]
    files += [path for path in ROOT.iterdir() if path.is_file() and path.name != ".git"]
    found = [
        f"{path.relative_to(ROOT)}:{number}: {match[0]}"
        for path in files
        if path.suffix in TEXT_FILES and path != Path(__file__) and "__pycache__" not in path.parts
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if (match := UNWANTED.search(line))
    ]
    assert found == []


# ── the package ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.requirement("PRJ-008")
def test_public_names_are_sorted_and_there():
    import harness

    assert list(harness.__all__) == sorted(harness.__all__)
    for name in harness.__all__:
        assert getattr(harness, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        getattr(harness, "no_such_" + "name")


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.requirement("PRJ-006", "PIPE-019")
def test_a_plain_installation_runs_a_script(tmp_path):
    environment = tmp_path / "venv"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)], check=True, timeout=300)
    (wheel,) = tmp_path.glob("*.whl")
    subprocess.run([*pip, "install", str(wheel)], check=True, timeout=300)

    with zipfile.ZipFile(wheel) as archive:
        inside = {name for name in archive.namelist() if name.startswith("harness/")}
    wanted = {
        path.relative_to(ROOT).as_posix()
        for path in LIBRARY.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert inside == wanted
    assert "harness/py.typed" in inside
    assert any(name.endswith(".js") for name in inside)

    env = {"PATH": os.defpath, "HOME": str(tmp_path), "LANG": "C.UTF-8"}
    done = subprocess.run(
        [str(environment / "bin" / "harness"), "run", "-", "--json"],
        input="<tool-calls>return 6 * 7</tool-calls>",
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["executions"][0]["value"] == 42
    names = "import importlib.metadata as m; print(*(d.metadata['Name'] for d in m.distributions()))"
    listed = subprocess.run([str(python), "-c", names], capture_output=True, text=True, check=True, timeout=60)
    installed = set(listed.stdout.split())
    assert "tool-calls-harness" in installed
    assert not installed & {"pytest", "hypothesis", "trio", "jsonschema", "mypy"}, sys.version
