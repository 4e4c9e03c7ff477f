"""Two configs become one: the keys of the second go before those of the first."""

from collections.abc import Mapping
from typing import Any

from pixmill.config.model import Provider

_OF_POINTS = frozenset({"exclude", "only"})
"""Keys of a sweep that leave out points and make none."""

_DEFAULT_KIND = Provider.model_fields["kind"].default
"""The provider of a section that names none."""

_IMAGE_ROLES = ("image_url", "image_file")
"""Of which a config may map one."""


def merge_sections(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sections of `base` with those of `own` over them.

    Lists replace lists; mappings are merged key by key, except where a key excludes another one.

        merge_sections({"limits": {"qps": 2, "concurrency": 4}}, {"limits": {"qps": 9}})
        # {"limits": {"qps": 9, "concurrency": 4}}
    """
    merged = dict(base)
    for name, value in own.items():
        inherited = merged.get(name)
        if isinstance(inherited, Mapping) and isinstance(value, Mapping):
            kept = _keep_compatible(name, inherited, value)
            value = _merge_values(kept, value)
        merged[name] = value
    return merged


def _keep_compatible(
    name: str, base: Mapping[str, Any], own: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Return what of the section `name` of a base can be beside what a config says itself."""
    if name == "provider":
        kind = base.get("kind", _DEFAULT_KIND)
        # The address and the key of another provider are not those of this one.
        return base if own.get("kind", kind) == kind else {}
    if name == "sweep" and own.keys() - _OF_POINTS:
        # A part of another sweep would be one that nobody asked for.
        return {}
    inherited = base.get("columns")
    columns = own.get("columns")
    if name != "input" or not isinstance(inherited, Mapping):
        return base
    if isinstance(columns, Mapping) and columns.keys() & set(_IMAGE_ROLES):
        kept = {
            role: column
            for role, column in inherited.items()
            if role not in _IMAGE_ROLES
        }
        return {**base, "columns": kept}
    return base


def _merge_values(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in own.items():
        inherited = merged.get(key)
        if isinstance(inherited, Mapping) and isinstance(value, Mapping):
            value = _merge_values(inherited, value)
        merged[key] = value
    return merged
