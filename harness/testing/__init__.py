"""What the tests of tools, approvers and transcripts need. No VM is started by anything here."""

from __future__ import annotations

from harness.context import make_test_context
from harness.testing.approver import Rule, ScriptedApprover, make_request
from harness.testing.chunks import (
    byte_chunks,
    chunks,
    every_cut,
    random_chunks,
    stream,
    stream_chunks,
    two_way_splits,
)
from harness.testing.clock import FrozenClock
from harness.testing.golden import Golden
from harness.testing.http import FakeHttp, FakeRequest, FakeResponse
from harness.testing.model import FakeModel
from harness.testing.tools import FakeCall, FakeResult, FakeTool, FakeTools, call_tool, in_turn

__all__ = [
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
