"""``--tools MODULE_OR_FILE[:NAME]``: the tools of somebody's module."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from harness.errors import HarnessError, UsageError
from harness.redaction import visible
from harness.tools.classes import has_tools, tools_of
from harness.tools.registry import ToolRegistry
from harness.tools.tool import Tool

__all__ = ["load_registry", "load_tools"]

T = TypeVar("T")


def load_registry(references: Iterable[str]) -> ToolRegistry:
    """The tools of all references together. Raises ``UsageError``, also for a name that two of them share."""
    registry = ToolRegistry()
    for reference in references:
        registry.extend(load_tools(reference))
    return registry


def load_tools(reference: str) -> list[Tool]:
    """The tools that ``reference`` names: ``pkg.module``, ``path/file.py``, each with ``:NAME`` or without.

    ``NAME`` is a ``Tool``, an object with methods marked ``@tool``, a list of these, a ``ToolRegistry``, or something
    callable without arguments that returns one of these. Without ``NAME``, every ``Tool`` the module has, in the order of definition. Raises ``UsageError``.
    """
    place, name = _split(reference)
    module = _import(reference, place)
    if name is None:
        tools = list({id(value): value for value in vars(module).values() if isinstance(value, Tool)}.values())
        if not tools:
            raise UsageError(
                f"--tools {reference}: no tools in {place}; mark functions with @tool, or name what holds them."
            )
        return tools
    value: Any = module
    for part in name.split("."):
        try:
            value = getattr(value, part)
        except AttributeError:
            known = ", ".join(key for key, item in vars(module).items() if isinstance(item, Tool))
            hint = f" Its tools are: {known}." if known else ""
            raise UsageError(f"--tools {reference}: {place} has no {name!r}.{hint}") from None
    return _as_tools(reference, name, value)


def _as_tools(reference: str, name: str, value: Any, *, called: bool = False) -> list[Tool]:
    if isinstance(value, Tool):
        return [value]
    if isinstance(value, ToolRegistry):
        return value.all_versions()
    if has_tools(value):
        return tools_of(value)
    if isinstance(value, (list, tuple)) and all(
        isinstance(item, Tool) or callable(item) or has_tools(item) for item in value
    ):
        return ToolRegistry(value).all_versions()
    if callable(value) and not called:
        return _as_tools(reference, f"{name}()", _guarded(reference, value), called=True)
    expected = "a tool, a list of tools, a ToolRegistry or a function without parameters that returns one of these"
    raise UsageError(
        f"--tools {reference}: {name} is {_kind(value)}; it must be {expected}. @tool makes a function a tool."
    )


def _kind(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"a {type(value).__name__} that holds more than tools"
    return f"of type {type(value).__name__}"


def _split(reference: str) -> tuple[str, str | None]:
    place, colon, name = reference.rpartition(":")
    if colon and place and all(part.isidentifier() for part in name.split(".")):
        return place, name
    return reference, None


def _import(reference: str, place: str) -> ModuleType:
    path = Path(place)
    if place.endswith(".py") or os.sep in place:
        if not path.is_file():
            raise UsageError(f"--tools {reference}: there is no file {place}.")
        return _guarded(reference, lambda: _import_file(path))
    if not all(part.isidentifier() for part in place.split(".")):
        raise UsageError(
            f"--tools {reference}: {place!r} is neither a module (pkg.module) nor a Python file (tools.py)."
        )
    directory = str(Path.cwd())
    if directory not in sys.path:
        sys.path.insert(0, directory)
    if _missing(place):
        hint = f" There is a file {place}.py: write --tools {place}.py." if Path(f"{place}.py").is_file() else ""
        raise UsageError(
            f"--tools {reference}: there is no module {place!r} here or among the installed packages.{hint}"
        )
    return _guarded(reference, lambda: importlib.import_module(place))


def _missing(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is None
    except ModuleNotFoundError as error:  # a parent package is not there; anything else is the module's own failure
        return error.name is not None and module.startswith(error.name)
    except Exception:  # noqa: BLE001 -- a parent package failed; importing it again shows where
        return False


def _import_file(path: Path) -> ModuleType:
    path = path.resolve()
    loaded = [module for module in sys.modules.values() if getattr(module, "__file__", None) == str(path)]
    if loaded:
        return loaded[0]  # named twice; its tools must not be made twice
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))  # the file's neighbours can be imported, as if it were run
    name = path.stem if path.stem.isidentifier() and path.stem not in sys.modules else f"_tools_{len(sys.modules)}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is no Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # annotations are looked up through it
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _guarded(reference: str, action: Callable[[], T]) -> T:
    """What ``action``, which runs somebody else's code, returns; whatever it raises becomes a ``UsageError``."""
    try:
        return action()
    except (Exception, SystemExit) as error:
        # Their code may raise anything, or end the interpreter.
        raise UsageError(f"--tools {reference}: {_explain(error)}") from error


def _explain(error: BaseException) -> str:
    text = visible(error.message if isinstance(error, HarnessError) else str(error))
    what = text if isinstance(error, HarnessError) else f"{type(error).__name__}: {text}"
    if isinstance(error, SyntaxError):
        return f"{what} ({error.filename}, line {error.lineno})"
    # The last line of their own code; what lies below it is import machinery or a library.
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_own(frame.filename)]
    if not frames:
        return what
    frame = frames[-1]
    return f"{what}\n  {frame.filename}, line {frame.lineno}: {frame.line}"


def _is_own(filename: str) -> bool:
    package = str(Path(__file__).resolve().parent.parent)
    return (
        not filename.startswith(("<", package))
        and f"{os.sep}site-packages{os.sep}" not in filename
        and (
            not filename.startswith(os.path.dirname(os.__file__))  # noqa: PTH120 -- a prefix, not a path to open
        )
    )
