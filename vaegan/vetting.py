"""What a configuration may have Hydra do: checked of every composed configuration before Hydra acts on it.

Hydra calls what `_target_` names under `hydra:` (launcher, sweeper, callbacks), and Python's logging calls what a logging
configuration names. An experiment's file, which may come from anybody, can set them all; here only what vaegan offers passes.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import hydra
from hydra._internal import hydra as hydra_app
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import IConfigRepository
from hydra.core.object_type import ObjectType
from omegaconf import DictConfig, OmegaConf

from vaegan.errors import UserError

TARGETS = frozenset(
    {
        "hydra_plugins.vaegan_sweeper.Sweeper",
        "hydra_plugins.vaegan_sweeper.LocalLauncher",
        "hydra._internal.core_plugins.basic_sweeper.BasicSweeper",
        "hydra._internal.core_plugins.basic_launcher.BasicLauncher",
        "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher",
        "hydra_plugins.hydra_submitit_launcher.submitit_launcher.LocalLauncher",
        "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher",
        "hydra_plugins.hydra_ray_launcher.ray_launcher.RayLauncher",
    }
)
# Options of launchers that hold commands, packages to install or a cluster to trust, as far as they say nothing.
_COMMANDS = {"setup": None, "additional_parameters": {}, "ray": {"init": {"address": None}, "remote": {}}}


class VettingLoader(ConfigLoaderImpl):
    """Hydra's loader of configurations, which lets no other than a harmless one out: of a run, and of each job of a sweep."""

    def load_configuration(self, *args: Any, **kwargs: Any) -> DictConfig:
        cfg = super().load_configuration(*args, **kwargs)
        vet(cfg.hydra)
        return cfg

    def get_group_options(
        self,
        group_name: str,
        results_filter: ObjectType | None = ObjectType.CONFIG,
        config_name: str | None = None,
        overrides: list[str] | None = None,
    ) -> list[str]:
        """As Hydra's, which for each group that --help lists copies every configuration it has read."""
        return self._repository(config_name, tuple(overrides or ())).get_group_options(group_name, results_filter)

    @cache  # noqa: B019 (a command has one loader)
    def _repository(self, config_name: str | None, overrides: tuple[str, ...]) -> IConfigRepository:
        _, repository = self._parse_overrides_and_create_caching_repo(config_name, list(overrides))
        return repository


def vet_what_hydra_composes() -> None:
    """Have Hydra's commands load with VettingLoader. Between composing and acting, Hydra has no public place for a check."""
    hydra_app.ConfigLoaderImpl = VettingLoader


def vet(node: DictConfig) -> None:
    """Raises UserError if `node`, the `hydra` group of a configuration, has anything called that vaegan does not offer."""
    if node.callbacks:
        raise UserError(f"hydra.callbacks.{next(iter(node.callbacks))} is not offered: it could execute anything.")
    if node.job.env_set:
        raise UserError("hydra.job.env_set is not offered; set environment variables in the shell.")
    for group in ("hydra_logging", "job_logging"):
        if OmegaConf.to_container(node[group], resolve=False) not in _logging_of_hydra(group):
            raise UserError(f"hydra.{group} is not one of Hydra's own; choose hydra/{group}=none, or default.")
    for name in ("output_subdir", "job.name"):
        value = OmegaConf.select(node, name)
        if value is not None and (value != Path(value).name or "\\" in value):
            raise UserError(f"hydra.{name} must be a plain name, not {value!r}.")
    typed = {override.lstrip("+~").partition("=")[0] for override in node.overrides.hydra}
    for group in ("launcher", "sweeper"):
        harmless = dict(_leaves(_COMMANDS, f"hydra.{group}"))
        for name, value in _leaves(OmegaConf.to_container(node[group], resolve=True), f"hydra.{group}"):
            if name.endswith("._target_") and value not in TARGETS:
                raise UserError(f"{name}={value} is not offered: it could execute anything.")
            if group == "launcher" and name not in typed:
                commands = name.split(".")[2] in _COMMANDS and harmless.get(name) != value
                if commands or (isinstance(value, str) and len(value.splitlines()) > 1):  # lines of a script for SLURM
                    raise UserError(f"{name} can hold commands: type {name}=... rather than have a file say so.")


@cache
def _logging_of_hydra(group: str) -> list[Any]:
    """The logging configurations that come with Hydra."""
    files = (Path(hydra.__file__).parent / "conf" / "hydra" / group).glob("*.yaml")
    return [OmegaConf.to_container(OmegaConf.load(file), resolve=False) for file in sorted(files)]


def _leaves(tree: Any, path: str) -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of each value in nested groups and lists; what is empty is a value, too."""
    if tree and isinstance(tree, (Mapping, list)):
        for key, value in tree.items() if isinstance(tree, Mapping) else enumerate(tree):
            yield from _leaves(value, f"{path}.{key}")
    else:
        yield path, tree
