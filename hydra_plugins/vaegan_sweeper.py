"""How Hydra finds vaegan's sweeper and launcher: it accepts plugins from this package alone. The work is in vaegan/sweeping."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from vaegan.cli import Composition
from vaegan.errors import UserError
from vaegan.sweeping import jobs, running
from vaegan.sweeping.jobs import Job
from vaegan.sweeping.processes import RunJob


class Sweeper(BasicSweeper):
    """Hydra's grid of overrides as the jobs of a sweep that can be gone on with, run by whichever launcher is chosen."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.job = task_function.job
        super().setup(hydra_context=hydra_context, task_function=RunJob(self.job), config=config)

    def sweep(self, arguments: list[str]) -> Any:
        loader = self.hydra_context.config_loader
        overrides = OverridesParser.create(config_loader=loader).parse_overrides([*self._parse_config(), *arguments])
        swept = list(
            dict.fromkeys(override.get_key_element() for override in overrides if override.is_sweep_override())
        )
        [grid] = self.split_arguments(overrides, None)
        choices = self.config.hydra.runtime.choices
        name = choices.get("sweep") or jobs.sweep_name(swept, choices.get("experiment"))
        folder = Path(self.config.hydra.sweep.dir or Path("outputs", name))

        compositions = []
        for job_overrides in grid:
            cfg = loader.load_sweep_config(self.config, job_overrides)
            hydra_config = cfg.hydra
            with open_dict(cfg):
                del cfg["hydra"]
            compositions.append(Composition.of(cfg, hydra_config, folder, in_sweep=True))
        laid_out = jobs.lay_out(compositions, swept, folder)
        sys.exit(running.run_sweep(laid_out, folder, self._runner(folder)))

    def _runner(self, folder: Path) -> running.Run:
        if isinstance(self.launcher, LocalLauncher):
            return running.run_here(self.job, self.launcher.jobs_at_once)

        def run(unfinished: list[Job]) -> None:
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
        if jobs_at_once is not None and (type(jobs_at_once) is not int or jobs_at_once < 1):
            raise UserError(f"hydra.launcher.jobs_at_once must be a whole number >= 1 or null, not {jobs_at_once!r}.")
        self.jobs_at_once = jobs_at_once

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        pass

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        raise UserError("hydra/launcher=local goes with hydra/sweeper=vaegan; choose hydra/launcher=basic.")


def _quoted(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
