"""The table of an operation's fields, from the model that describes them."""

import ast
import inspect
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from docs.generate.markdown import sentence, table
from pixmill.request.canonical_json import canonical_json
from pixmill.request.operations.operation import Parameters


def fields_table(*schemas: tuple[type[Parameters], str]) -> str:
    """Return a row for each field of some models, with what goes before the names of each."""
    rows = (row for schema, prefix in schemas for row in _field_rows(schema, prefix))
    return table(("field", "takes", "default", "meaning"), rows)


def _field_rows(
    schema: type[Parameters], prefix: str
) -> Iterator[tuple[str, str, str, str]]:
    described = schema.model_json_schema()
    meanings = _field_meanings(schema)
    for name, field in described["properties"].items():
        field = _without_null(field)
        takes = _takes(field, described.get("$defs", {}))
        of_schema = schema.model_fields[name]
        default = "required"
        if not of_schema.is_required():
            given = of_schema.get_default()
            default = "not sent" if given is None else f"`{_default_text(given)}`"
        meaning = sentence(meanings[name]) if name in meanings else ""
        yield f"`{prefix}{name}`", takes, default, meaning


def _without_null(field: dict[str, Any]) -> dict[str, Any]:
    options: list[dict[str, Any]] = field.get("anyOf", [field])
    return next(option for option in options if option.get("type") != "null")


def _takes(field: dict[str, Any], definitions: Mapping[str, Any]) -> str:
    """Say what a field takes, by its JSON schema."""
    if "$ref" in field:
        return "see [delivery](#delivery)"
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if field.get("type") == "array":
        item = definitions[field["items"]["$ref"].rpartition("/")[2]]
        inner = (
            f"`{name}`: {_takes(field, definitions)}"
            for name, field in item["properties"].items()
        )
        return "a list of " + "; ".join(inner)
    kind = {
        "integer": "whole number",
        "number": "number",
        "boolean": "true, false",
        "string": "text",
    }.get(field.get("type", ""), "")
    low = field.get("minimum", field.get("exclusiveMinimum"))
    high = field.get("maximum", field.get("exclusiveMaximum"))
    if low is None and high is None:
        return kind
    more = "above " if "exclusiveMinimum" in field else ""
    less = "below " if "exclusiveMaximum" in field else ""
    if high is None:
        return f"{kind}, {more or 'at least '}{low:,}"
    return f"{kind}, {more}{low:,} to {less}{high:,}"


def _default_text(value: Any) -> str:
    if isinstance(value, Parameters):
        value = value.model_dump(exclude_none=True)
    if isinstance(value, tuple):
        value = [model.model_dump() for model in value]
    return canonical_json(value)


def _field_meanings(schema: type[Parameters]) -> dict[str, str]:
    """Return what stands under the fields of a model and of those that it builds on."""
    meanings: dict[str, str] = {}
    for base in reversed(schema.__mro__):
        if not issubclass(base, Parameters):
            continue
        (tree,) = ast.parse(inspect.getsource(base)).body
        for field, below in pairwise(
            tree.body if isinstance(tree, ast.ClassDef) else ()
        ):
            if not isinstance(field, ast.AnnAssign) or not isinstance(below, ast.Expr):
                continue
            if isinstance(below.value, ast.Constant):
                text = str(below.value.value)
                meanings[ast.unparse(field.target)] = " ".join(text.split())
    return meanings
