"""The ready-made tools as a whole: what is loaded when."""

from __future__ import annotations

import subprocess
import sys

import pytest

import harness.toolkit

EXTRAS = ["httpx", "httpcore", "certifi", "jsonpath_rfc9535", "trustme"]
PROGRAM = f"""
import importlib.abc, sys

class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {EXTRAS!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocker())
import harness, harness.testing, harness.toolkit
from harness.toolkit import *
assert not set({EXTRAS!r}) & set(sys.modules)
read_text("."), list_files(".")
for make in (
    lambda: http_request(hosts=["a.example"]),
    lambda: llm("m", provider="openai", price=Price(1, 1)),
    json_query,
    json_transform,
):
    try:
        make()
    except harness.UsageError as error:
        print(error.message)
"""


@pytest.mark.requirement("KIT-001")
def test_extras_are_loaded_when_a_tool_is_made_and_missing_ones_are_named():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "http_request needs httpx: pip install 'tool-calls-harness[http]'.",
        "llm needs httpx: pip install 'tool-calls-harness[http]'.",
        "json_query needs jsonpath_rfc9535: pip install 'tool-calls-harness[json]'.",
        "json_transform needs jsonpath_rfc9535: pip install 'tool-calls-harness[json]'.",
    ]


@pytest.mark.requirement("KIT-001")
def test_importing_loads_no_extra_that_is_installed():
    program = f"import sys, harness.testing, harness.toolkit; print(sorted(set({EXTRAS!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.requirement("KIT-001")
def test_a_library_that_is_installed_and_broken_is_not_called_missing(tmp_path):
    (tmp_path / "httpx.py").write_text("import no_such_module_at_all\n")
    program = "from harness.toolkit import http_request; http_request(hosts=['a.example'])"
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {program}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "No module named 'no_such_module_at_all'" in done.stderr
    assert "UsageError" not in done.stderr


@pytest.mark.requirement("KIT-002")
def test_public_names_are_sorted_and_there():
    assert harness.toolkit.__all__ == sorted(harness.toolkit.__all__)
    assert all(hasattr(harness.toolkit, name) for name in harness.toolkit.__all__)
