"""The JSON schema of a config, by which editors complete keys and underline mistakes while they are typed."""

import ast
import inspect
import json
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel

from pixmill.config.model import Config

SCHEMA_FILE = "config.schema.json"
"""What the file is called that a config names for editors."""

_VARIABLE = {"type": "string", "pattern": r"\$\{"}
"""An environment variable, which may be any value."""

_SINGLE = frozenset({"integer", "number", "boolean", "null"})


def schema_text() -> str:
    """Return the JSON schema of a config as the text of a file."""
    text = json.dumps(config_schema(), indent=1, ensure_ascii=False, allow_nan=False)
    return text + "\n"


def config_schema() -> dict[str, Any]:
    """Return the JSON schema of a config: keys with their meaning, defaults and choices."""
    schema = Config.model_json_schema()
    definitions = schema["$defs"]
    # The file that a config extends may have it.
    del definitions["Input"]["required"]
    for model in _models(Config, set()):
        described = schema if model is Config else definitions[model.__name__]
        described["description"] = inspect.cleandoc(model.__doc__ or "")
        _describe_fields(model, described)
    # Axes of the short form have names of their own.
    definitions["Sweep"]["additionalProperties"] = {"type": ["array", "object"]}
    # `{50500: failed}` is short for `{"*": {50500: {verdict: failed}}}`.
    definitions["Retry"]["properties"]["codes"]["additionalProperties"] = True
    _simplify(schema)
    extends = {
        "type": "string",
        "description": "Another config, relative to this one, whose keys are the defaults.",
    }
    properties = {"extends": extends, **schema["properties"]}
    # Of a config that extends another one nothing is required.
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A run config of pixmill",
        "description": schema["description"],
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "anyOf": [{"required": ["extends"]}, {"required": schema["required"]}],
        "$defs": definitions,
    }


def _models(model: type[BaseModel], seen: set[type]) -> Iterator[type[BaseModel]]:
    """Yield `model` and the sections that its fields hold, each once."""
    if model in seen:
        return
    seen.add(model)
    yield model
    for field in model.model_fields.values():
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from _models(kind, seen)


def _describe_fields(model: type[BaseModel], described: dict[str, Any]) -> None:
    """Put the text under each field of the model's class into its schema."""
    definition = ast.parse(inspect.getsource(model)).body[0]
    name = ""
    for statement in getattr(definition, "body", ()):
        if isinstance(statement, ast.AnnAssign):
            name = getattr(statement.target, "id", "")
        text = getattr(getattr(statement, "value", None), "value", None)
        if isinstance(statement, ast.Expr) and name in described["properties"]:
            described["properties"][name]["description"] = " ".join(str(text).split())


def _simplify(schema: Any) -> None:
    """Let every number and choice be an environment variable as well, and leave out what repeats its key."""
    if isinstance(schema, list):
        for part in schema:
            _simplify(part)
        return
    if not isinstance(schema, dict):
        return
    # What pydantic writes of a decimal, which is no word of JSON schema.
    if "ge" in schema:
        schema["minimum"] = schema.pop("ge")
    for part in schema.values():
        _simplify(part)
    for field in schema.get("properties", {}).values():
        field.pop("title", None)
        if "$ref" in field:
            field.pop("default", None)
        if field.get("type") in _SINGLE or "enum" in field:
            kept = {key: field.pop(key) for key in list(field) if key in _CHECKS}
            field["anyOf"] = [kept, dict(_VARIABLE)]
        elif "anyOf" in field:
            field["anyOf"].append(dict(_VARIABLE))


_CHECKS = (
    "type",
    "const",
    "enum",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
)
"""What a schema says of a single value."""
