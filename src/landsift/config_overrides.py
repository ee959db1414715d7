"""YAML as people give it to landsift: files, and `key=value` laid over nested values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from landsift.errors import ConfigError

_MAX_FILE = 2**20  # bytes of a file
_MAX_NODES = 100_000


class _Loader(yaml.SafeLoader):
    """YAML's plain values; of a key that stands twice, one value would be passed over in silence."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """A mapping, before other ones are merged into it; raises ValueError."""
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise ValueError(f"line {key.start_mark.line + 1}: the key '{key.value}' stands there a second time")
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else "")
        return node


class NotYamlError(ValueError):
    """Text is not YAML, or more than a configuration; the message says where or why, after a space."""


def parse(text: str) -> Any:
    """The value of a YAML text, a tree of at most _MAX_NODES values; raises NotYamlError."""
    try:
        values = yaml.load(text, _Loader)  # noqa: S506 (a safe one)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise NotYamlError(f" (line {mark.line + 1})" if mark else "") from None
    except Exception as error:  # ValueError for 2001-99-99, RecursionError for [[[[, IndexError for !!int '', ...
        raise NotYamlError(f" ({' '.join(str(error).split())[:100]})") from error
    waiting, count = [values], 0
    while waiting:  # aliases make few bytes an endless tree
        count += 1
        if count > _MAX_NODES:
            raise NotYamlError(f" (more than {_MAX_NODES:,} values)")
        node = waiting.pop()
        if isinstance(node, Mapping):
            waiting += node.values()
        elif isinstance(node, list | tuple | set):
            waiting += node
    return values


def read_mapping(path: Path, option: str) -> dict[str, Any]:
    """The mapping that a YAML file holds, empty for an empty file.

    Args:
        path: the file.
        option: of the command line, by which it was given.

    Raises:
        ConfigError: it cannot be read, is too large, or is something else.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_FILE + 1)  # a pipe is welcome, an endless one is not
        if len(raw) > _MAX_FILE:
            raise ConfigError(f"{path} is larger than {_MAX_FILE >> 20} MiB", "is it a YAML file?")
        values = parse(raw.decode())
    except FileNotFoundError:
        kind = "configuration file" if option == "--config" else "file"
        raise ConfigError(f"{kind} not found: {path}", f"give {option} an existing YAML file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from None
    except NotYamlError as error:
        raise ConfigError(f"{path} is not valid YAML{error}", "check indentation, quotes and keys there") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds no keys", "a mapping is needed, such as 'seed: 0'")
    return values


def laid_over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Nested values of `above`, and of `below` where `above` has none."""
    merged = dict(below) | dict(above)
    for key in below.keys() & above.keys():
        if isinstance(below[key], Mapping) and isinstance(above[key], Mapping):
            merged[key] = laid_over(below[key], above[key])
    return merged


def value_of(key: str, text: str) -> Any:
    """What `--set key=text` gives the key; raises ConfigError."""
    try:
        return parse(text)
    except NotYamlError:
        raise ConfigError(f"the value of --set {key} is not valid YAML: {text}") from None


def spelled(value: Any) -> str:
    """A value as `--set KEY=VALUE` takes it: YAML on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, width=math.inf, allow_unicode=True, sort_keys=False)
    return str(text).removesuffix("\n...\n").strip()


def apply(values: dict[str, Any], override: str) -> None:
    """Lay one `key=value` over nested values, which are changed in place; raises ConfigError."""
    given: object = override
    key, equals, text = given.partition("=") if isinstance(given, str) else ("", "", "")
    if not equals or not key.strip():
        raise ConfigError(
            f"--set {given!r} is not of the form key=value", "write it like --set training.image_size=128"
        )
    value = value_of(key, text)
    *parents, last = key.strip().split(".")
    node: Any = values
    for parent in parents:
        child = _member(node, parent, key)
        if not isinstance(child, dict | list):
            child = node[parent] = {}
        node = child
    if isinstance(node, list):
        _member(node, last, key)
        node[int(last)] = value
    else:
        node[last] = value


def _member(node: dict[str, Any] | list[Any], name: str, key: str) -> Any:
    """What a part of a key stands for: a key of a section, or a position, counted from 0, in a list of phases."""
    if isinstance(node, dict):
        return node.get(name)
    if name.isdecimal() and int(name) < len(node):
        return node[int(name)]
    count = f"{len(node)} phase{'s' if len(node) > 1 else ''}"
    raise ConfigError(
        f"--set {key}: '{name}' is no phase here", f"there are {count}, counted from 0, as in strategy.0.epochs=2"
    )
