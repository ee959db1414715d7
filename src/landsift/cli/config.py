"""`landsift config`: the complete configuration, or a part of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from landsift.cli.options import ConfigOption, JsonOption


def config_command(
    key: Annotated[
        str | None,
        typer.Argument(metavar="[KEY]", help="A section or a key, such as training.augment.", show_default=False),
    ] = None,
    config: ConfigOption = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", "-s", metavar="KEY=VALUE", help="Change one setting; repeatable.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print the configuration with all defaults, as YAML that --config takes.

    With --config and --set: what a run with them would use. Of a named strategy,
    `landsift config strategy` prints the phases.
    """
    import yaml

    from landsift.cli.printing import print_result
    from landsift.config import RunConfig

    chosen = RunConfig.load(config, settings or ())
    values = chosen.to_dict() if key is None else _nested(key, _part(chosen, key))
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True).rstrip()
    print_result(values, [text], as_json=as_json)


def _part(chosen: Any, key: str) -> Any:
    """The value of a key; raises ConfigError where there is none."""
    from landsift.config import unknown_key

    if key == "strategy":
        from dataclasses import asdict

        from landsift.training.strategies import resolve_strategy

        return [asdict(phase) for phase in resolve_strategy(chosen.strategy, chosen.strategies)]
    value: Any = chosen.to_dict()
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise unknown_key(key)
        value = value[part]
    return value


def _nested(key: str, value: Any) -> dict[str, Any]:
    for part in reversed(key.split(".")):
        value = {part: value}
    return dict(value)
