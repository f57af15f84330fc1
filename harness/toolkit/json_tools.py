"""`json_query` and `json_transform`: parts of JSON data, and new JSON made of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Unpack

from pydantic import JsonValue

from harness.errors import ToolExecutionError, ToolValidationError
from harness.toolkit.checks import check_whole, require
from harness.toolkit.metered import TooMuchWorkError, unmetered
from harness.tools.context import CallContext
from harness.tools.options import ToolOptions
from harness.tools.tool import Tool

if TYPE_CHECKING:
    from harness.toolkit.jsonpath import Document

__all__ = ["json_query", "json_transform"]

_STEPS = 200_000
_READS: ToolOptions = {"tags": ("read",), "idempotent": True}
_DATA = {"description": "Any JSON value."}


def json_query(
    *,
    max_steps: int = _STEPS,
    name: str = "json_query",
    **options: Unpack[ToolOptions],
) -> Tool:
    """A tool that selects parts of JSON data: ``tools.json_query({data, query, paths?})``.

    ``query`` is a JSONPath as in RFC 9535. The result is an array of the values it selects; with ``paths: true`` of
    objects with ``path`` (normalized) and ``value``.

    ``max_steps`` bounds the work: looking at one value is a step. A query that needs more is an error. By default the tool
    is tagged ``read`` and ``idempotent``. Needs the extra ``json``; raises `UsageError` without it.
    """

    def run(document: Document, arguments: Mapping[str, Any]) -> list[JsonValue]:
        nodes = document.find(arguments["query"], document.root)
        if not arguments["paths"]:
            return [unmetered(node.value, document.meter) for node in nodes]
        return [
            {"path": unmetered(node.path(), document.meter), "value": unmetered(node.value, document.meter)}
            for node in nodes
        ]

    return _json_tool(
        name,
        "json_query",
        run,
        properties={
            "query": {"type": "string", "maxLength": 2_000, "description": "JSONPath, such as $.items[*].name."},
            "paths": {"type": "boolean", "default": False, "description": "Whether to say where each value is."},
        },
        required="query",
        result={"type": "array"},
        description="Selects parts of JSON data with a JSONPath query (RFC 9535).",
        max_steps=max_steps,
        options=options,
    )


def json_transform(
    *,
    max_steps: int = _STEPS,
    name: str = "json_transform",
    **options: Unpack[ToolOptions],
) -> Tool:
    """A tool that makes new JSON of JSON data: ``tools.json_transform({data, template})``.

    The template is JSON in which ``{"$path": "$.name"}`` stands for a value of the data, ``{"$all": …}`` for an array of
    values, ``{"$each": …, "$to": …}`` for an array of filled-in templates; `harness.toolkit.templates` says it all.

    ``max_steps`` bounds the work, as in `json_query`: what is made counts as well. By default the tool is tagged ``read``
    and ``idempotent``. Needs the extra ``json``; raises `UsageError` without it.
    """

    def run(document: Document, arguments: Mapping[str, Any]) -> JsonValue:
        from harness.toolkit.templates import fill  # noqa: PLC0415 - imports an extra

        return fill(arguments["template"], document)

    return _json_tool(
        name,
        "json_transform",
        run,
        properties={
            "template": {"description": "JSON with {$path}, {$all} or {$each, $to} where parts of the data go."},
        },
        required="template",
        result=None,
        description=(
            'Builds new JSON from JSON data. In the template, {"$path": "$.a.b"} becomes that value (with "$default" if '
            'there is none), {"$all": "$.items[*].name"} an array, {"$each": "$.items[*]", "$to": {…}} an array of filled '
            'templates, where $ is the item, and "$in": "document" makes $ the whole data again.'
        ),
        max_steps=max_steps,
        options=options,
    )


def _json_tool(
    name: str,
    what: str,
    run: Callable[[Document, Mapping[str, Any]], JsonValue],
    *,
    properties: dict[str, Any],
    required: str,
    result: dict[str, Any] | None,
    description: str,
    max_steps: int,
    options: ToolOptions,
) -> Tool:
    """A tool that does ``run`` with a document of at most ``max_steps`` steps, and names what goes wrong."""
    require("jsonpath_rfc9535", extra="json", what=what)
    from harness.toolkit.jsonpath import Document, QueryError  # noqa: PLC0415 - imports an extra
    from harness.toolkit.templates import TemplateError  # noqa: PLC0415 - as above

    check_whole(max_steps, "max_steps", name, least=1)

    def call(context: CallContext, **arguments: Any) -> JsonValue:
        document = Document(arguments["data"], max_steps, context.raise_if_cancelled)
        try:
            return run(document, arguments)
        except QueryError as error:
            raise _misfit(name, "$.query", str(error)) from None
        except TemplateError as error:
            raise _misfit(name, error.path, str(error)) from None
        except TooMuchWorkError:
            raise _too_much(name, max_steps) from None

    settings: ToolOptions = {**_READS, **options}
    return Tool.from_schema(
        name,
        call,
        parameters={
            "type": "object",
            "properties": {"data": _DATA, **properties},
            "required": ["data", required],
            "additionalProperties": False,
        },
        result=result,
        description=description,
        **settings,
    )


def _misfit(tool: str, path: str, what: str) -> ToolValidationError:
    details: dict[str, Any] = {"path": path}
    return ToolValidationError(f"The arguments of tools.{tool} do not fit: {path}: {what}.", details=details)


def _too_much(tool: str, most: int) -> ToolExecutionError:
    return ToolExecutionError(
        f"tools.{tool}: this takes more than {most:,} steps, which is all that is allowed. Ask for less, or of less data.",
        retryable=False,
        details={"limit": most},
    )
