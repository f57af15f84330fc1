"""What the tests of tools, approvers and transcripts need. No VM is started by anything here but a `Cassette`.

The names below are loaded when first used: the pytest plugin is of this package, and must cost nobody anything who does
not use it. No module here has the name of one of them: importing it would put it in its place.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from harness.context import make_test_context
    from harness.testing.approver import Rule, ScriptedApprover, make_request
    from harness.testing.cassette import Cassette, CassetteError, UnusedRecordingWarning
    from harness.testing.clock import FrozenClock
    from harness.testing.cutting import (
        byte_chunks,
        chunks,
        every_cut,
        random_chunks,
        stream,
        stream_chunks,
        two_way_splits,
    )
    from harness.testing.golden import Golden
    from harness.testing.http import FakeHttp, FakeRequest, FakeResponse
    from harness.testing.model import FakeModel
    from harness.testing.tools import FakeCall, FakeResult, FakeTool, FakeTools, call_tool, in_turn

_MODULES = {
    "harness.context": ["make_test_context"],
    "harness.testing.approver": ["Rule", "ScriptedApprover", "make_request"],
    "harness.testing.cassette": ["Cassette", "CassetteError", "UnusedRecordingWarning"],
    "harness.testing.cutting": [
        "byte_chunks",
        "chunks",
        "every_cut",
        "random_chunks",
        "stream",
        "stream_chunks",
        "two_way_splits",
    ],
    "harness.testing.clock": ["FrozenClock"],
    "harness.testing.golden": ["Golden"],
    "harness.testing.http": ["FakeHttp", "FakeRequest", "FakeResponse"],
    "harness.testing.model": ["FakeModel"],
    "harness.testing.tools": ["FakeCall", "FakeResult", "FakeTool", "FakeTools", "call_tool", "in_turn"],
}

__all__ = [
    "Cassette",
    "CassetteError",
    "FakeCall",
    "FakeHttp",
    "FakeModel",
    "FakeRequest",
    "FakeResponse",
    "FakeResult",
    "FakeTool",
    "FakeTools",
    "FrozenClock",
    "Golden",
    "Rule",
    "ScriptedApprover",
    "UnusedRecordingWarning",
    "byte_chunks",
    "call_tool",
    "chunks",
    "every_cut",
    "in_turn",
    "make_request",
    "make_test_context",
    "random_chunks",
    "stream",
    "stream_chunks",
    "two_way_splits",
]

_WHERE = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    module = _WHERE.get(name)
    if module is None:
        raise AttributeError(f"module 'harness.testing' has no attribute {name!r}")
    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
