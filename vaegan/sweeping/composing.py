"""The configurations of a grid's jobs. Hydra takes long to compose one, so jobs that differ in values alone share the work."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from vaegan.cli import Composition


def compose(loader: ConfigLoader, sweep: DictConfig, grid: Sequence[Sequence[str]], folder: Path) -> list[Composition]:
    """What Hydra composes of each job's overrides.

    Which files make up a configuration depends on the groups that are chosen, and values are set after the files have been
    merged. So of jobs that choose alike Hydra composes the first, and the values of the others are set in copies of it.

    Args:
        sweep: the sweep's own configuration, with its `hydra` node.
        grid: for each job its overrides.

    Raises:
        What Hydra raises of the first job that it refuses.
    """
    parser = OverridesParser.create(config_loader=loader)
    parse = cache(lambda line: parser.parse_overrides([line])[0])
    groups = frozenset(loader.list_groups(""))
    first_of: dict[tuple, tuple[DictConfig, DictConfig]] = {}
    compositions = []
    for lines in grid:
        overrides = [parse(line) for line in lines]
        values = [override for override in overrides if _is_value(override, groups)]
        others = [override for override in overrides if not _is_value(override, groups)]
        alike = tuple(override.input_line for override in others), tuple(override.key_or_group for override in values)
        if alike in first_of and all(_is_choice(override, groups) for override in others):
            cfg, hydra_config = first_of[alike]
            try:
                composition = Composition.of(_with_values(cfg, values), hydra_config, folder, in_sweep=True)
            except OmegaConfBaseException:
                pass  # Hydra, below, says it in its own words
            else:
                typed = [override.input_line for override in overrides if not override.is_hydra_override()]
                compositions.append(replace(composition, overrides=typed))
                continue
        cfg = loader.load_sweep_config(sweep, list(lines))
        hydra_config = cfg.hydra
        with open_dict(cfg):
            del cfg["hydra"]
        first_of[alike] = copy.deepcopy(cfg), hydra_config
        compositions.append(Composition.of(cfg, hydra_config, folder, in_sweep=True))
    return compositions


def _is_value(override: Override, groups: frozenset[str]) -> bool:
    """Does it set one option, whatever was there, and nothing else? (A dictionary would be merged with what is there.)"""
    return (
        override.type == OverrideType.CHANGE
        and not override.is_hydra_override()
        and override.package is None
        and not _names_group(override, groups)
        and (override.value() is None or isinstance(override.value(), (bool, int, float, str)))
    )


def _is_choice(override: Override, groups: frozenset[str]) -> bool:
    """Does it choose a file of a group, or concern Hydra alone? Then it does not matter where among the values it stands."""
    return override.is_hydra_override() or (_names_group(override, groups) and not isinstance(override.value(), dict))


def _names_group(override: Override, groups: frozenset[str]) -> bool:
    return override.key_or_group in groups or "/" in override.key_or_group


def _with_values(cfg: DictConfig, values: list[Override]) -> DictConfig:
    cfg = copy.deepcopy(cfg)
    for override in values:
        OmegaConf.update(cfg, override.key_or_group, override.value())
    return cfg
