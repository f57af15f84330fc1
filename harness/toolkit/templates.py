"""Templates: JSON that says what new JSON is made of.

A template is a value. Text, numbers, true, false and null stand for themselves, and so do arrays and objects, whose items
and members are templates again. An object with one of these members is replaced:

- ``{"$path": query}`` by the one value that the query selects; ``$default`` is a template for where there is none.
- ``{"$all": query}`` by an array of all values it selects.
- ``{"$each": query, "$to": template}`` by an array with the template filled in for each value; in it ``$`` is that value.
- ``{"$literal": value}`` by the value as it stands.

With ``"$in": "document"`` the query of the first three is about the whole document, also inside ``$to``.
"""

from __future__ import annotations

import functools
from typing import Any

from pydantic import JsonValue

from harness.plain import child_path
from harness.toolkit.jsonpath import Document, QueryError
from harness.toolkit.metered import unmetered

__all__ = ["TemplateError", "fill"]

_FORMS = {
    "$path": {"$path", "$default", "$in"},
    "$all": {"$all", "$in"},
    "$each": {"$each", "$to", "$in"},
    "$literal": {"$literal"},
}


Place = tuple[str | int, ...]
"""A place in a template, as names and indices."""


class TemplateError(Exception):
    """What is wrong at a place of the template (``path``)."""

    def __init__(self, place: Place, what: str) -> None:
        super().__init__(what)
        self.path = functools.reduce(child_path, place, "$.template")


def fill(template: JsonValue, document: Document) -> JsonValue:
    """What the template makes of the document.

    Raises `TemplateError`, and `harness.toolkit.metered.TooMuchWorkError`.
    """
    return _Filling(document).fill(template, document.root, ())


class _Filling:
    def __init__(self, document: Document) -> None:
        self._document = document

    def fill(self, template: JsonValue, here: Any, place: Place) -> JsonValue:
        if isinstance(template, list):
            return [self.fill(item, here, (*place, index)) for index, item in enumerate(template)]
        if not isinstance(template, dict):
            return unmetered(template, self._document.meter)
        if not any(name.startswith("$") for name in template):
            meter = self._document.meter
            meter.spend(1)
            made: dict[str, JsonValue] = {}
            for name, member in template.items():
                meter.spend_text(name)
                made[name] = self.fill(member, here, (*place, name))
            return made
        return self._form(template, here, place)

    def _form(self, template: dict[str, JsonValue], here: Any, place: Place) -> JsonValue:
        form = next((name for name in _FORMS if name in template), None)
        if form is None or not template.keys() <= _FORMS[form]:
            raise TemplateError(
                place,
                f"the members {', '.join(sorted(template)[:10])} do not go together. An object whose members begin with "
                "'$' has $path (and $default), $all, or $each and $to, each with or without $in; or $literal alone",
            )
        if form == "$literal":
            return unmetered(template[form], self._document.meter)
        values = self._values(template, form, here, place)
        if form == "$all":
            return [unmetered(value, self._document.meter) for value in values]
        if form == "$each":
            if "$to" not in template:
                raise TemplateError(place, "$each has no $to, the template for each value")
            there = (*place, "$to")
            return [self.fill(template["$to"], value, there) for value in values]
        if len(values) == 1:
            return unmetered(values[0], self._document.meter)
        if not values and "$default" in template:
            return self.fill(template["$default"], here, (*place, "$default"))
        if not values:
            raise TemplateError(place, f"{template[form]} selects nothing. Give it a $default, or use $all")
        raise TemplateError(place, f"{template[form]} selects {len(values):,} values. Use $all or $each for several")

    def _values(self, template: dict[str, JsonValue], form: str, here: Any, place: Place) -> list[Any]:
        query = template[form]
        if not isinstance(query, str):
            raise TemplateError((*place, form), "a query is text, such as '$.name'")
        if template.get("$in", "document") != "document":
            raise TemplateError((*place, "$in"), "only 'document' can stand")
        try:
            return self._document.values(query, self._document.root if "$in" in template else here)
        except QueryError as error:
            raise TemplateError((*place, form), f"the query cannot be used: {error}") from None
