"""The committed schemas: written, held against what the code says now, and against what was released last.

A directory of schemas holds one file for each published value, ``index.json``, and ``released/VERSION.json`` with all
schemas of each released version, which never change again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic

from harness.canonical import content_hash, json_path, to_canonical_json
from harness.contracts.bumps import RequiredBump, required_bump
from harness.contracts.compare import compare_schema, severity
from harness.contracts.values import Difference, Impact
from harness.contracts.versions import newest, parse_version
from harness.errors import SerializationError, UsageError
from harness.schemas.published import PUBLISHED, SCHEMA_VERSION, file_name, schema_of

__all__ = ["INDEX", "Judgement", "judge", "problems", "release", "write"]

INDEX = "index.json"
_RELEASED = "released"
_GENERATOR = ".".join(pydantic.VERSION.split(".")[:2])


@dataclass(frozen=True, slots=True)
class Judgement:
    """What changed since the last release, and whether the version rose as far as it had to."""

    differences: tuple[Difference, ...]
    bump: RequiredBump | None
    """None before the first release."""


def write(directory: Path) -> list[str]:
    """Write every schema as the code says it now, and remove those of values that are gone. Returns the files that
    changed. What was released stays as it is.
    """
    wanted = {**{file_name(name): schema_of(name) for name in PUBLISHED}, INDEX: _index(directory)}
    directory.mkdir(parents=True, exist_ok=True)
    changed = []
    for name, value in wanted.items():
        path, text = directory / name, _text(value)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            changed.append(name)
    for path in directory.glob("*.json"):
        if path.name not in wanted:
            path.unlink()
            changed.append(path.name)
    return sorted(changed)


def release(directory: Path) -> Path:
    """Put the schemas on record as those of their version. Returns the file. Raises `UsageError` if something is wrong
    with them, or if this version was released with other schemas.
    """
    wrong = problems(directory)
    if wrong:
        raise UsageError(f"These schemas cannot be released: {wrong[0]}")
    index = _read(directory / INDEX)
    snapshot = {
        name: {"role": entry["role"], "schema": _read(directory / entry["file"])}
        for name, entry in index["schemas"].items()
    }
    path = directory / _RELEASED / f"{index['version']}.json"
    if path.is_file() and to_canonical_json(_read(path)) != to_canonical_json(snapshot):
        raise UsageError(
            f"{path.name} was released with other schemas. Raise SCHEMA_VERSION in harness/schemas/published.py."
        )
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"{to_canonical_json(snapshot)}\n", encoding="utf-8")
    (directory / INDEX).write_text(_text(_index(directory)), encoding="utf-8")
    return path


def problems(directory: Path) -> list[str]:
    """What is wrong with the committed schemas, a sentence each; empty if nothing is."""
    found = [*_stale(directory), *_rewritten(directory)]
    if any(not (directory / entry["file"]).is_file() for entry in _read(directory / INDEX)["schemas"].values()):
        return found  # what is missing cannot be compared
    judgement = judge(directory)
    if judgement.bump is not None and not judgement.bump.sufficient:
        worst = severity(judgement.differences)
        first = [f" {one.path}: {one.message}" for one in judgement.differences if one.severity is worst][:1]
        todo = "Set SCHEMA_VERSION in harness/schemas/published.py and run `make schemas`."
        found.append(f"{judgement.bump.message} {todo}{''.join(first)}")
    return found


def judge(directory: Path) -> Judgement:
    """Compare the committed schemas with those that were released last. Raises `UsageError` if there are none."""
    index = _read(directory / INDEX)
    versions = [path.stem for path in (directory / _RELEASED).glob("*.json") if parse_version(path.stem)]
    if not versions:
        return Judgement((), None)
    last = newest(versions)
    old = _read(directory / _RELEASED / f"{last}.json")
    new = {
        name: {"role": entry["role"], "schema": _read(directory / entry["file"])}
        for name, entry in index["schemas"].items()
    }
    differences = tuple(
        difference for name in sorted({*old, *new}) for difference in _compare(name, old.get(name), new.get(name))
    )
    return Judgement(differences, required_bump(last, index["version"], differences, what="The set of schemas"))


def _compare(name: str, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> tuple[Difference, ...]:
    path = json_path("$", name)
    if old is not None and new is not None and old["role"] == new["role"]:
        return compare_schema(old["schema"], new["schema"], old["role"], path)
    if old is None:
        message = f"There is a schema of {name} now."
        return (Difference(path=path, kind="schema_added", severity=Impact.ADDITIVE, message=message),)
    if new is None:
        message = f"There is no schema of {name} any more: it is gone, or nothing is promised about it."
        return (Difference(path=path, kind="schema_removed", severity=Impact.BREAKING, message=message),)
    message = f"{name} went from {old['role']} to {new['role']}: other readers and writers have to understand it."
    values = {"before": old["role"], "after": new["role"]}
    return (Difference(path=path, kind="role_changed", severity=Impact.BREAKING, message=message, **values),)


def _stale(directory: Path) -> list[str]:
    """Where the committed schemas are not those of the code."""
    index = _read(directory / INDEX)
    found = []
    if index["version"] != SCHEMA_VERSION:
        found.append(f"{INDEX} is of version {index['version']}, and SCHEMA_VERSION is {SCHEMA_VERSION}.")
    entries = {name: {"file": file_name(name), "role": value.role} for name, value in PUBLISHED.items()}
    if index["schemas"] != entries:
        found.append(f"{INDEX} does not list the published values.")
    extra = {path.name for path in directory.glob("*.json")} - {entry["file"] for entry in entries.values()} - {INDEX}
    found += [f"{name} describes nothing that is published." for name in sorted(extra)]
    for name, entry in entries.items():
        path = directory / entry["file"]
        if not path.is_file():
            found.append(f"{entry['file']} is missing.")
            continue
        committed, current = _read(path), schema_of(name)
        if to_canonical_json(committed) != to_canonical_json(current) and not (
            # Another pydantic writes the same in other words.
            index["pydantic"] != _GENERATOR and not _differs(committed, current)
        ):
            found.append(f"{entry['file']} is not what the code says.")
    return [f"{problem} Run `make schemas`." for problem in found]


def _differs(old: Any, new: Any) -> bool:
    differences = [*compare_schema(old, new, "input"), *compare_schema(old, new, "output")]
    return severity(differences) is not Impact.NEUTRAL


def _rewritten(directory: Path) -> list[str]:
    recorded = _read(directory / INDEX)["released"]
    there = _snapshots(directory)
    return [
        f"{_RELEASED}/{version}.json is not what was released; restore it."
        for version in sorted({*recorded, *there})
        if recorded.get(version) != there.get(version)
    ]


def _snapshots(directory: Path) -> dict[str, str]:
    return {path.stem: content_hash(_read(path)) for path in sorted((directory / _RELEASED).glob("*.json"))}


def _index(directory: Path) -> dict[str, Any]:
    return {
        "version": SCHEMA_VERSION,
        "pydantic": _GENERATOR,
        "schemas": {name: {"file": file_name(name), "role": value.role} for name, value in PUBLISHED.items()},
        "released": _snapshots(directory),
    }


def _text(value: Any) -> str:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _read(path: Path) -> Any:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        to_canonical_json(value)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, SerializationError) as error:
        raise UsageError(f"{path} is no JSON: {error}.") from error
    return value
