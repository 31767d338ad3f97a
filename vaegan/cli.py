"""What every command shares: Hydra composes, mistakes become one sentence and exit code 2.

Imports neither torch nor Lightning: `--help`, `--cfg job` and a mistyped option are answered before either is loaded.
"""

import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vaegan import config
from vaegan.errors import UserError

_PACKAGE = Path(__file__).parent
# The wheel carries conf/ inside the package; a checkout has it beside the package.
CONF = _PACKAGE / "conf" if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent / "conf"


@dataclass(frozen=True)
class Composition:
    """What Hydra made of the command line."""

    values: dict[str, Any]  # nested plain values, not yet checked
    overrides: list[str]  # as typed, Hydra's own left out
    experiment: str  # NAME of +experiment=NAME, else "default"
    run_folder: Path


def run_command(job: Callable[[Composition], None], config_name: str) -> NoReturn:
    """Compose conf/<config_name>.yaml with sys.argv, call `job` (once, or once a job of a multirun), and exit.

    Exit codes: 0 done; 2 a mistake of the user (one sentence on stderr, no traceback, no empty folder left behind);
    anything else comes from `job`. HYDRA_FULL_ERROR=1 shows the traceback of a mistake, too.
    """
    show_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands its exceptions over instead of printing them
    OmegaConf.register_new_resolver("run_folder", _run_folder, use_cache=True, replace=True)

    mistakes: list[UserError] = []

    def composed(cfg: DictConfig) -> None:
        hydra_config = HydraConfig.get()
        run_folder = Path(hydra_config.runtime.output_dir)
        try:
            job(
                Composition(
                    values=OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True),
                    overrides=list(hydra_config.overrides.task),
                    experiment=hydra_config.runtime.choices.get("experiment", "default"),
                    run_folder=run_folder,
                )
            )
        except UserError as mistake:
            # Kept, not raised: the other jobs of a multirun go on, and Hydra adds no line of its own.
            _remove_if_empty(run_folder)
            mistakes.append(mistake)

    try:
        if any(argument.startswith("--experimental-rerun") for argument in sys.argv):
            raise UserError(
                "--experimental-rerun is not offered: it would unpickle, and so execute, the file it is given."
            )
        hydra.main(config_path=str(CONF), config_name=config_name, version_base="1.3")(composed)()
        if mistakes:
            raise mistakes[0]
    except (UserError, HydraException, OmegaConfBaseException, OSError) as error:
        if show_traceback:
            raise
        print(f"vaegan: {_sentence(error)}", file=sys.stderr)
        sys.exit(2)
    sys.exit(0)


def _run_folder(experiment: str, resume: str | None) -> str:
    """outputs/<experiment>/<time>; for a run that is gone on with ".", because it has its folder already."""
    if resume is not None:
        return "."
    started = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    folder = Path("outputs", experiment, started)
    number = 2
    while folder.exists():
        folder = Path("outputs", experiment, f"{started}-{number}")
        number += 1
    return str(folder)


def _remove_if_empty(folder: Path) -> None:
    """Undo Hydra's mkdir of a run that never began: the folder and its parents below the working directory, if empty."""
    below = [path for path in (folder, *folder.parents) if path != Path.cwd() and path.is_relative_to(Path.cwd())]
    for path in below:
        try:
            path.rmdir()
        except OSError:  # not empty
            return


def _sentence(error: Exception) -> str:
    """Hydra's or OmegaConf's several lines as one sentence that names the nearest right name."""
    message = str(error)
    if isinstance(error, UserError):
        return message
    if isinstance(error, OSError) and not isinstance(error, HydraException):
        return f"{error.filename}: {error.strerror}." if error.filename else f"{message}."
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options is not None:
        group, _, name = error.missing_cfg_file.removesuffix(".yaml").rpartition("/")
        options = [option.removesuffix(".yaml") for option in error.options]
        match = config.nearest(name, options)
        hint = f"did you mean {group}={match}? " if match else ""
        return f"{group}={name} does not exist; {hint}There are: {', '.join(options)}."
    if isinstance(error, OverrideParseException):
        return f"cannot read {error.override!r} on the command line; write key=value, for example seed=1."
    if match := re.search(r"Could not override '([^']+)'\.?\s*No match in the defaults list", message):
        group = match[1].partition("@")[0]
        if group == "experiment":
            return "experiment is added, not replaced; write +experiment=NAME."
        return config.unknown_option(group)
    if match := re.search(r"Could not (?:override|append to config|delete from config)[^']*'([^']+)'", message):
        return config.unknown_option(match[1])
    return " ".join(line.strip() for line in message.splitlines() if line.strip())
