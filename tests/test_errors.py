from __future__ import annotations

import inspect
import pickle
import re
from pathlib import Path
from typing import Any

import pytest

from harness import Harness, errors, tool
from harness.errors import (
    ApprovalDeniedError,
    ErrorCategory,
    ErrorInfo,
    HarnessError,
    ScriptSyntaxError,
    ToolExecutionError,
    ToolTimeoutError,
    extract_error_info,
    is_retryable,
)

SPEC = Path(__file__).parent.parent / "specs" / "errors.md"
CLASSES = {name: cls for name, cls in vars(errors).items() if inspect.isclass(cls) and issubclass(cls, HarnessError)}


@pytest.mark.requirement("ERR-001")
def test_the_table_lists_every_class_as_it_is():
    rows = re.findall(r"^\| `(\w+Error)` \| `(\w+)` \| (yes|no) \|$", SPEC.read_text(), re.MULTILINE)
    documented = {name: (category, answer == "yes") for name, category, answer in rows}
    assert len(rows) == len(documented)
    actual = {name: (cls.category.value, cls("x").retryable) for name, cls in CLASSES.items()}
    assert documented == actual
    assert set(actual) <= set(errors.__all__)


@pytest.mark.requirement("ERR-001")
def test_the_table_of_categories():
    rows = re.findall(r"^\| `(\w+)` \| [^`|]+ \| (yes|no) \|$", SPEC.read_text(), re.MULTILINE)
    assert {name: answer == "yes" for name, answer in rows} == {
        category.value: category.is_retryable() for category in ErrorCategory
    }


@pytest.mark.requirement("ERR-002")
def test_transient_and_resource_are_retryable():
    assert {category.value for category in ErrorCategory if category.is_retryable()} == {"TRANSIENT", "RESOURCE"}


@pytest.mark.requirement("ERR-003")
def test_info_holds_everything():
    error = ScriptSyntaxError(
        "Unexpected token.", line=3, column=5, stack="at <script>:3:5", details={"source_line": "x"}
    )
    info = error.info()
    assert info.model_dump(mode="json") == {
        "type": "ScriptSyntaxError",
        "category": "VALIDATION",
        "retryable": False,
        "message": "Unexpected token.",
        "line": 3,
        "column": 5,
        "stack": "at <script>:3:5",
        "details": {"source_line": "x"},
    }
    assert ErrorInfo.model_validate_json(info.model_dump_json()) == info
    assert str(error) == "Unexpected token."


@pytest.mark.requirement("ERR-004")
def test_one_instance_can_differ_from_its_class():
    assert ToolExecutionError("busy", retryable=True).info().retryable
    assert not ToolTimeoutError("gone for good", retryable=False).info().retryable
    assert ToolExecutionError("busy", retryable=True).category is ErrorCategory.TRANSIENT
    assert ToolTimeoutError("gone for good", retryable=False).category is ErrorCategory.PERMANENT
    assert ToolExecutionError("full", category=ErrorCategory.RESOURCE).info().retryable


@pytest.mark.requirement("ERR-009")
@pytest.mark.parametrize("cls", CLASSES.values(), ids=CLASSES)
@pytest.mark.parametrize("retryable", [None, True, False])
@pytest.mark.parametrize("category", [None, *ErrorCategory])
def test_category_and_retryable_agree_in_every_class(cls, retryable, category):
    error = cls("m", retryable=retryable, category=category)
    again = pickle.loads(pickle.dumps(error))
    for one in (error, error.info(), extract_error_info(error), again, again.info()):
        assert one.retryable is one.category.is_retryable()
        assert one.category is error.category
    natural = category or cls.category
    assert error.retryable is (natural.is_retryable() if retryable is None else retryable)
    # What is said already is not said worse.
    assert error.category is natural or retryable not in (None, natural.is_retryable())


@pytest.mark.requirement("ERR-009")
def test_they_cannot_be_made_to_disagree():
    for category in ErrorCategory:
        with pytest.raises(ValueError, match="does not go with"):
            ErrorInfo(type="X", category=category, retryable=not category.is_retryable(), message="m")
    error = ToolTimeoutError("m")
    with pytest.raises(AttributeError):
        setattr(error, "retryable", False)  # noqa: B010 -- the type checker knows that it is read-only
    error.category = ErrorCategory.VALIDATION
    assert not error.info().retryable
    with pytest.raises(TypeError, match="set `category`"):
        type("Mine", (ToolExecutionError,), {"retryable": True})

    class MineError(ToolExecutionError):
        category = ErrorCategory.TRANSIENT

    assert MineError("m").info().retryable
    assert not MineError("m", retryable=False).info().retryable


@pytest.mark.anyio
@pytest.mark.requirement("ERR-009")
async def test_they_agree_in_what_scripts_and_records_are_told():
    failures = [
        *[PermissionError(), TimeoutError(), ConnectionResetError(), MemoryError(), RecursionError(), ValueError()],
        *[TypeError(), KeyError(), OSError(), AssertionError(), ExceptionGroup("m", [ValueError()])],
    ]

    @tool
    async def fail(number: int) -> None:
        """Fail in one of many ways."""
        raise failures[number]

    script = f"""
    const seen = [];
    for (let number = 0; number < {len(failures)}; number++) {{
      try {{ await tools.fail({{ number }}) }} catch (e) {{ seen.push([e.category, e.retryable]) }}
    }}
    try {{ progress('m', 1n) }} catch (e) {{ seen.push([e.category, e.retryable]) }}
    const timeout = AbortSignal.timeout(0); await new Promise((r) => timeout.addEventListener('abort', r));
    for (const e of [AbortSignal.abort().reason, timeout.reason]) seen.push([e.category, e.retryable]);
    try {{ for (;;) setTimeout(() => {{}}, 1e6) }} catch (e) {{ seen.push([e.category, e.retryable]) }}
    return seen;
    """
    async with Harness(tools=[fail], limits={"max_pending_calls": 50}) as harness:
        [execution] = (await harness.run(f"<tool-calls>{script}</tool-calls>")).executions
    assert execution.error is None, execution.error
    seen: Any = execution.value
    assert len(seen) == len(failures) + 4
    assert {tuple(pair) for pair in seen} == {
        *[("PERMANENT", False), ("TRANSIENT", True), ("RESOURCE", True), ("VALIDATION", False)]
    }


@pytest.mark.requirement("ERR-005")
@pytest.mark.parametrize(
    ("error", "category"),
    [
        (PermissionError("/etc/shadow"), "PERMISSION"),
        (TimeoutError("/etc/shadow"), "TRANSIENT"),
        (ConnectionResetError("/etc/shadow"), "TRANSIENT"),
        (MemoryError("/etc/shadow"), "RESOURCE"),
        (RecursionError("/etc/shadow"), "RESOURCE"),
        (UnicodeDecodeError("/etc/shadow", b"", 0, 1, "/etc/shadow"), "VALIDATION"),
        (TypeError("/etc/shadow"), "VALIDATION"),
        (KeyError("/etc/shadow"), "PERMANENT"),
        (FileNotFoundError(2, "no", "/etc/shadow"), "PERMANENT"),
    ],
)
def test_other_exceptions_give_their_class_but_not_their_text(error, category):
    info = extract_error_info(error)
    assert (info.type, info.category.value) == (type(error).__name__, category)
    assert info.retryable is info.category.is_retryable()
    assert "shadow" not in info.model_dump_json()


@pytest.mark.requirement("ERR-005")
def test_an_error_of_the_harness_stays_as_it_is():
    error = ApprovalDeniedError("Ada said no.", details={"request_id": "r1", "waited_s": 1.5})
    assert extract_error_info(error) == error.info()
    assert extract_error_info(error).details == {"request_id": "r1", "waited_s": 1.5}


@pytest.mark.requirement("ERR-006")
def test_is_retryable():
    assert is_retryable(ToolTimeoutError("x"))
    assert is_retryable(ToolTimeoutError("x").info())
    assert is_retryable(ConnectionError())
    assert not is_retryable(ApprovalDeniedError("x"))
    assert not is_retryable(KeyError("x"))
    assert not is_retryable(ToolTimeoutError("x", retryable=False).info())


@pytest.mark.requirement("ERR-007")
@pytest.mark.parametrize("cls", CLASSES.values(), ids=CLASSES)
def test_errors_survive_pickling(cls):
    error = cls("m", line=1, column=2, stack="s", retryable=True, details={"a": [1]})
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is cls
    assert str(again) == "m"
    assert again.info() == error.info()


@pytest.mark.requirement("ERR-008")
def test_the_tree_is_drawn_as_it_is():
    parents: list[str] = []
    drawn = {}
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"    ((?:[│ ]   )*(?:[├└]── )?)(\w+Error)\b", line)
        if match:
            depth = len(match[1]) // 4
            parents[depth:] = [match[2]]
            drawn[match[2]] = parents[depth - 1] if depth else "Exception"
    assert drawn == {name: cls.__bases__[0].__name__ for name, cls in CLASSES.items()}
