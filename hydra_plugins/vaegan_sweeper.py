"""How Hydra finds vaegan's sweeper and launcher: it accepts plugins from this package alone. The work is in vaegan/sweeping.

Hydra imports this file for every command, `--help` too, so what only a sweep needs is imported where one begins.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, ListConfig, open_dict

from vaegan.config import nearest
from vaegan.errors import UserError

if TYPE_CHECKING:
    from vaegan.sweeping.jobs import Job
    from vaegan.sweeping.running import Run


class Sweeper(BasicSweeper):
    """Hydra's grid of overrides as the jobs of a sweep that can be gone on with, run by whichever launcher is chosen."""

    def __init__(self, params: dict[str, str] | None = None, **unknown: Any):
        super().__init__(max_batch_size=None, params=params)
        self.unknown = list(unknown)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from vaegan.sweeping.processes import RunJob

        self.job = task_function.job
        super().setup(hydra_context=hydra_context, task_function=RunJob(self.job), config=config)

    def sweep(self, arguments: list[str]) -> Any:
        from vaegan.sweeping import composing, jobs, running

        self._check()
        loader = self.hydra_context.config_loader
        overrides = OverridesParser.create(config_loader=loader).parse_overrides([*self._parse_config(), *arguments])
        if any(override.is_sweep_override() and override.key_or_group == "sweep" for override in overrides):
            raise UserError("sweep must be one name; start one sweep after the other.")
        swept = list(
            dict.fromkeys(override.get_key_element() for override in overrides if override.is_sweep_override())
        )
        [grid] = self.split_arguments(overrides, None)
        choices = self.config.hydra.runtime.choices
        name = choices.get("sweep") or jobs.sweep_name(swept, choices.get("experiment"))
        folder = Path(self.config.hydra.sweep.dir or Path("outputs", name))

        laid_out = jobs.lay_out(composing.compose(loader, self.config, grid, folder), swept, folder)
        sys.exit(running.run_sweep(laid_out, folder, self._runner(folder)))

    def _check(self) -> None:
        """Raises UserError for what a sweep's file can get wrong."""
        for name in self.unknown:
            match = nearest(name, ("params",))
            hint = f"did you mean {match}?" if match else "write what is swept over under hydra.sweeper.params."
            raise UserError(f"hydra.sweeper.{name} is not an option of a sweep; {hint}")
        if not isinstance(self.params, Mapping):
            raise UserError(f"hydra.sweeper.params must be a group of `option: values`, not {self.params!r}.")
        for key, values in self.params.items():
            if isinstance(values, (list, ListConfig)):
                shown = ",".join(map(str, values))
                raise UserError(
                    f"hydra.sweeper.params.{key} is a list; for one run for each value write `{key}: {shown}`."
                )
        if isinstance(self.launcher, LocalLauncher):
            self.launcher.check()

    def _runner(self, folder: Path) -> "Run":
        from vaegan.sweeping import running

        if isinstance(self.launcher, LocalLauncher):
            return running.run_here(self.job, self.launcher.jobs_at_once)

        def run(unfinished: "list[Job]") -> None:
            with open_dict(self.config):
                self.config.hydra.sweep.dir = str(folder.absolute())
            # The launcher composes each job once more, where it runs.
            where = f"hydra.sweep.dir={_quoted(folder.absolute())}"
            overrides = [[*job.composition.overrides, where, f"hydra.sweep.subdir={job.name}"] for job in unfinished]
            self.launcher.launch(overrides, initial_job_idx=0)

        return run


class LocalLauncher(Launcher):
    """Stands for vaegan/sweeping/running.py's run_here: this machine's cores, shared as suits the jobs."""

    def __init__(self, jobs_at_once: int | None):
        self.jobs_at_once = jobs_at_once

    def check(self) -> None:
        """Raises UserError. (In __init__ Hydra would wrap it into an error of its own.)"""
        number = self.jobs_at_once
        if number is not None and (type(number) is not int or number < 1):
            raise UserError(f"hydra.launcher.jobs_at_once must be a whole number >= 1 or null, not {number!r}.")

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        pass

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        raise UserError("hydra/launcher=local goes with hydra/sweeper=vaegan; choose hydra/launcher=basic.")


def _quoted(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
