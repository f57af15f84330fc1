"""`Harness.check`: everything that is wrong with a text and its scripts, without running anything."""

from __future__ import annotations

from harness.errors import HarnessError, WorkerCrashedError
from harness.model import Block, Diagnostic, Severity
from harness.run import Settings, find_blocks, too_many_blocks
from harness.runtime.runtime import Runtime
from harness.runtime.sources import SourceMap

__all__ = ["inspect_text"]


async def inspect_text(text: str, settings: Settings, runtime: Runtime) -> list[Diagnostic]:
    """Diagnostics with lines and columns of ``text``, in its order; those of a script carry ``details["block"]``."""
    segments, diagnostics = find_blocks(text, settings, settings.limits)
    number = able = 0
    most = settings.limits.max_blocks
    for segment in segments:
        if not isinstance(segment, Block):
            continue
        number += 1
        # What cannot run anyway is not worth a worker each; there may be hundreds of thousands of them.
        problems = await _inspect_block(segment, settings, runtime if able < most else None)
        diagnostics.extend(_placed(problem, segment, number) for problem in problems)
        if not _is_empty(segment) and not any(problem.code == "empty_script" for problem in problems):
            able += 1
            if able == most + 1:
                diagnostics.append(too_many_blocks(segment, most))
    return sorted(diagnostics, key=lambda found: (found.line or 0, found.column or 0))


def _is_empty(block: Block) -> bool:
    return block.self_closed or not block.source.strip()


async def _inspect_block(block: Block, settings: Settings, runtime: Runtime | None) -> list[Diagnostic]:
    if _is_empty(block):
        return []
    # Without any tool nobody has said which there are.
    found = settings.parser.diagnose(block, tools=settings.registry.names() or None)
    if runtime is None or any(diagnostic.severity is Severity.ERROR for diagnostic in found):
        return found
    try:
        script = settings.parser.parse(block)
        objection: HarnessError | None = await runtime.compile(script)
    except WorkerCrashedError as crash:
        objection = crash
    if objection is not None:
        found.append(
            Diagnostic(
                code=type(objection).__name__,
                severity=Severity.ERROR,
                message=objection.message,
                line=objection.line,
                column=objection.column,
                details=objection.details,
            )
        )
    return found


def _placed(found: Diagnostic, block: Block, number: int) -> Diagnostic:
    """The same with its place in the text instead of the block's own source."""
    details = {**found.details, "block": number}
    if found.line is None:
        return found.model_copy(update={"line": block.span.line, "column": block.span.column, "details": details})
    span = block.source_span
    breaks, column = SourceMap.of_block(block.source).text_place(found.line, found.column or 1)
    first = span.column + block.source.startswith("\ufeff")
    return found.model_copy(
        update={
            "line": span.line + breaks,
            "column": column + (first - 1 if breaks == 0 else 0),
            "details": details,
        }
    )
