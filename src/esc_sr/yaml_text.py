"""YAML whose aliases stand for more than any configuration, told before it is multiplied out."""

from __future__ import annotations

from pathlib import Path

import yaml

from esc_sr.errors import InputError

_MOST_VALUES = 100_000


def check_aliases(text: str, path: Path) -> None:
    """Refuse a text whose aliases (`*name`) make a large or endless configuration of a small file.

    Args:
        text: YAML. What is none is left to whoever reads it.
        path: Where it stands, for messages.

    Raises:
        InputError: An alias stands within what it names, or all of them for too many values.
    """
    if "&" not in text or "*" not in text:
        return
    try:
        node = yaml.compose(text, yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError):
        return
    if node is not None and _values(node, {}, path) > _MOST_VALUES:
        raise InputError(
            f"{path}: its aliases (*name) stand for more than {_MOST_VALUES} values; write out "
            "what is meant"
        )


def _values(node: yaml.Node, counted: dict[int, int | None], path: Path) -> int:
    """Count what a node and those below it are, each as often as it is named."""
    if id(node) in counted:
        known = counted[id(node)]
        if known is None:  # begun and not ended
            raise InputError(f"{path}: an alias (*name) stands within what it names")
        return known
    counted[id(node)] = None
    below: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        below = [part for pair in node.value for part in pair]
    elif isinstance(node, yaml.SequenceNode):
        below = node.value
    total = 1 + sum(_values(part, counted, path) for part in below)
    counted[id(node)] = total
    return total
