"""The ready-made tools as a whole: what is loaded when, and what they are set up with."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

import harness.toolkit
from harness import UsageError
from harness.toolkit import Price, http_request, list_files, llm, read_text

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


@pytest.mark.requirement("KIT-002")
@pytest.mark.parametrize(
    ("setting", "wrong"),
    [
        ("hosts", [5, None, "x.org", {"x.org": 1}, [5]]),
        ("methods", [5, "GET", [["GET"]], ["BREW"], []]),
        ("networks", [5, "10.0.0.0/8", ["zz"]]),
        ("headers", [5, ["a"], {"a": 5}, {5: "a"}]),
        ("credentials", [5, {"https://x.org": 5}, {"https://x.org": {"a": 5}}]),
        ("allow_headers", [5, "x-one"]),
        ("max_bytes", ["5", 0, True]),
        ("max_redirects", ["5", -1]),
        ("connect_timeout", ["5", 0, True, 1e9]),
        ("resolver", [5]),
        ("tls", [5]),
        ("transport", [5]),
    ],
)
def test_settings_of_requests_that_cannot_be(setting, wrong):
    for value in wrong:
        settings: dict[str, Any] = {"hosts": ["x.org"], setting: value}
        with pytest.raises(UsageError):
            http_request(**settings)


@pytest.mark.requirement("KIT-002")
def test_settings_of_other_tools_that_cannot_be(tmp_path):
    for make in (read_text, list_files):
        roots: list[dict[str, Any]] = [{"root": 5}, {"root": None}, {"root": tmp_path, "hidden": 1}, {"root": "/none"}]
        for settings in roots:
            with pytest.raises(UsageError):
                make(**settings)
    wrong: dict[str, Any] = {
        "model": 5, "provider": "x", "price": 5, "base_url": 5, "system": 5, "limit_member": 5, "parameters": 5,
        "max_tokens": "5", "max_bytes": 0, "connect_timeout": "5",
    }  # fmt: skip
    for setting, value in wrong.items():
        given: dict[str, Any] = {"model": "m", "provider": "openai", "price": Price(1, 1), setting: value}
        with pytest.raises(UsageError):
            llm(**given)
