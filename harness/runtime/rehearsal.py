"""The script that a zygote plays through once, so that its workers find everything warm."""

from __future__ import annotations

import hashlib

from harness.limits import Limits
from harness.model import BlockAttributes, ExecutionMode, Script, Span
from harness.runtime.job import Job
from harness.runtime.past import Frame
from harness.runtime.sources import SourceMap

__all__ = ["rehearsal"]

# One of everything that most scripts do: a call, a timer, a log line, a caught error, a result.
_SOURCE = """\
const answer = await tools.rehearse({ text: `${1 + 1}`, list: [1, 2.5, null, true] });
await new Promise((resolve) => setTimeout(resolve, 1));
console.log('rehearsal', answer);
try { await tools.rehearse({}); } catch (error) { progress(error.message); }
return answer.items.map(({ id, ...rest }) => ({ id, rest, known: id > 1 }));
"""
_DELIVERIES = [
    '{"now":1,"items":[{"call":1,"value":{"items":[{"id":1,"name":"one"},{"id":2,"name":"two"}]}}]}',
    '{"now":2,"items":[{"timer":1}]}',
    '{"now":3,"items":[{"call":2,"error":{"type":"Error","category":"PERMANENT","retryable":false,"message":"no"}}]}',
]


def rehearsal() -> list[str]:
    """Bodies of frames: START, then one DELIVER for everything that the script waits for."""
    span = Span(start=0, end=len(_SOURCE), line=1, column=1, end_line=6, end_column=1)
    script = Script(
        source=_SOURCE,
        sha256=hashlib.sha256(_SOURCE.encode()).hexdigest(),
        mode=ExecutionMode.RETURN,
        attributes=BlockAttributes(),
        span=span,
        source_span=span,
    )
    job = Job(script=script, tools=("rehearse",), context={}, seed=(1, 2, 3, 4), limits=Limits())
    return [job.start_frame(Frame(0, "null"), SourceMap(_SOURCE)).decode(), *_DELIVERIES]
