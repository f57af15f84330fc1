"""The opening tag of a block: its attributes, read by a hardened XML parser."""

from __future__ import annotations

import difflib
import re
from typing import Any, get_args

from lxml import etree
from pydantic import ValidationError

from harness.errors import BlockAttributeError
from harness.model import BlockAttributes
from harness.redaction import visible
from harness.syntax.characters import BIDIRECTIONAL, CONTROLS
from harness.syntax.problem import Problem

__all__ = ["read_attributes"]

_SHOWN = 200
_SHOWN_VALUE = 40
_PLAIN = re.compile(r"<tool-calls\s*/?>")
_OPENING = re.compile(r"<tool-calls(?=[\s/>])[^\0]*>")
_ALLOWED = tuple(BlockAttributes.model_fields)
_FORM = 'Write it like `<tool-calls id="report" lang="js">`.'
_XML_NAMESPACE = "{http://www.w3.org/XML/1998/namespace}"

# By the name of the first error libxml2 reports; the rest of what it says is about what follows from that.
_MALFORMED = {
    "ERR_ATTRIBUTE_REDEFINED": "an attribute is given twice",
    "ERR_ATTRIBUTE_NOT_STARTED": "the value of an attribute is not in quotes",
    "ERR_ATTRIBUTE_WITHOUT_VALUE": "an attribute has no value",
    "ERR_ATTRIBUTE_NOT_FINISHED": "the value of an attribute is never closed",
    "ERR_LT_IN_ATTRIBUTE": "a `<` stands in the value of an attribute",
    "ERR_SPACE_REQUIRED": "there is no space between two attributes",
    "ERR_UNDECLARED_ENTITY": "a value holds an entity that does not exist; write `&` as `&amp;`",
    "ERR_NAME_REQUIRED": "a name is missing; write `&` in a value as `&amp;`",
    "ERR_ENTITYREF_SEMICOL_MISSING": "a value holds a bare `&`; write it as `&amp;`",
    "ERR_INVALID_CHAR": "a value names a character that cannot be used",
    "NS_ERR_UNDEFINED_NAMESPACE": "an attribute has a prefix",
}


def read_attributes(tag: str) -> BlockAttributes | tuple[Problem, ...]:
    """The attributes of ``<tool-calls …>`` as written, or everything that is wrong with them."""
    if _PLAIN.fullmatch(tag):
        return BlockAttributes()
    if unseen := (CONTROLS.search(tag) or BIDIRECTIONAL.search(tag)):
        return (
            _problem(
                f"The opening tag holds the character U+{ord(unseen[0]):04X}, which cannot be seen: remove it.", tag
            ),
        )
    if not _OPENING.fullmatch(tag):
        return (_problem(f"The opening tag is malformed. {_FORM}", tag),)
    parsed = _parse(tag)
    if isinstance(parsed, Problem):
        return (parsed,)
    unknown = tuple(_unknown(name, tag) for name in parsed if name not in _ALLOWED)
    if unknown:
        return unknown
    return _validate(parsed, tag)


def _parse(tag: str) -> dict[str, str] | Problem:
    # No DOCTYPE can be here: the text begins with the element's name and holds one element.
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, dtd_validation=False, huge_tree=False, recover=False
    )
    try:
        element = etree.fromstring(tag if tag.endswith("/>") else tag + "</tool-calls>", parser)
    except etree.XMLSyntaxError as error:
        first = parser.error_log[0].type_name if len(parser.error_log) else ""
        reason = _MALFORMED.get(first, "it is not well-formed XML")
        return _problem(f"The opening tag is malformed: {reason}. {_FORM}", tag, parser_message=str(error.msg))
    # Namespace declarations are not among the attributes, and would rename the element.
    declared = {f"xmlns:{prefix}" if prefix else "xmlns": uri for prefix, uri in element.nsmap.items()}
    return declared | {str(name).replace(_XML_NAMESPACE, "xml:"): str(value) for name, value in element.attrib.items()}


def _unknown(name: str, tag: str) -> Problem:
    allowed = " and ".join(f"`{known}`" for known in _ALLOWED)
    near = difflib.get_close_matches(name.lower()[:64], _ALLOWED, n=1)
    hint = f" Did you mean `{near[0]}`?" if near else ""
    return _problem(
        f"The opening tag has an attribute `{visible(name)}`, which does not exist: only {allowed} do.{hint}",
        tag,
        attribute=visible(name),
        allowed=list(_ALLOWED),
        suggestions=near,
    )


def _validate(values: dict[str, str], tag: str) -> BlockAttributes | tuple[Problem, ...]:
    for name, value in values.items():
        if unseen := (CONTROLS.search(value) or BIDIRECTIONAL.search(value)):
            message = (
                f"The attribute `{name}` holds the character U+{ord(unseen[0]):04X}, which cannot be seen: remove it."
            )
            return (_problem(message, tag, attribute=name),)
    try:
        attributes = BlockAttributes.model_validate(values)
    except ValidationError as error:
        # What is wrong with a value does not depend on pydantic's words for it, which are not for those who write tags.
        wrong = {str(found["loc"][0]): found for found in error.errors(include_url=False)}
        return tuple(
            _problem(_wrong_value(name, found), tag, attribute=name, value=visible(values[name][:_SHOWN]))
            for name, found in wrong.items()
        )
    if attributes.lang == "ts":
        message = 'TypeScript is not supported by this version: write JavaScript, and leave out `lang="ts"`.'
        return (_problem(message, tag, attribute="lang"),)
    return attributes


def _wrong_value(name: str, found: Any) -> str:
    """What is wrong with the value of an attribute, from what pydantic found."""
    value, bounds = str(found["input"]), found.get("ctx", {})
    shown = visible(value[:_SHOWN_VALUE]) + ("…" if len(value) > _SHOWN_VALUE else "")
    match found["type"]:
        case "literal_error":
            known = get_args(BlockAttributes.model_fields[name].annotation)
            near = value.strip().lower()
            listed = " or ".join(f'`{name}="{one}"`' for one in known)
            advice = f'Write `{name}="{near}"`.' if near in known else f"Write JavaScript, and leave out `{name}`."
            return f'The attribute `{name}` is "{shown}"; there is {listed}, in lower case. {advice}'
        case "string_too_short":
            return f"The attribute `{name}` is empty: give it a value, or leave it out."
        case "string_too_long":
            most = bounds["max_length"]
            return f"The attribute `{name}` has {len(value):,} characters and may have {most}: make it shorter."
    return f"The attribute `{name}` is wrong: {found['msg']}."


def _problem(message: str, tag: str, **details: object) -> Problem:
    return Problem(BlockAttributeError, message, details={"opening_tag": visible(tag[:_SHOWN]), **details})
