"""YAML for people: as PyYAML writes it, in the order of its keys, and every text reads as it was."""

from typing import Any

import yaml

_NEXT_LINE = "\x85"


class _Dumper(yaml.SafeDumper):
    """The safe dumper, with quotes where PyYAML itself would lose a character."""

    def represent_text(self, text: str) -> yaml.ScalarNode:
        """Return the node of a text."""
        # PyYAML leaves U+0085 as it is, and reads it back as a space or a line's end: some Windows
        # tools write it for an ellipsis.
        style = '"' if _NEXT_LINE in text else None
        return self.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _Dumper.represent_text)


def write_yaml(value: Any, **options: Any) -> str:
    """Return a plain value as YAML; `options` are those of `yaml.dump`, such as `width`.

    >>> write_yaml({"name": "pets", "store": "out"})
    'name: pets\\nstore: out\\n'
    """
    written: str = yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, **options
    )
    return written
