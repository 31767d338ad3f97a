"""What every command shares: Hydra composes, mistakes become one sentence and exit code 2.

Imports neither torch nor Lightning: `--help`, `--cfg job` and a mistyped option are answered before either is loaded.
"""

import itertools
import os
import re
import signal
import sys
import threading
import traceback
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

from vaegan import config, vetting
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
    in_sweep: bool = False  # a job of a multirun: it goes on if its folder holds the beginning of it

    @classmethod
    def of(cls, cfg: DictConfig, hydra_config: DictConfig, run_folder: Path, in_sweep: bool) -> "Composition":
        """What Hydra composed: `cfg` without its hydra node, and `hydra_config`, that node."""
        return cls(
            values=OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True),
            overrides=list(hydra_config.overrides.task),
            experiment=hydra_config.runtime.choices.get("experiment", "default"),
            run_folder=run_folder,
            in_sweep=in_sweep,
        )


def run_command(job: Callable[[Composition], None], config_name: str, options: type = config.Config) -> NoReturn:
    """Compose conf/<config_name>.yaml with sys.argv, call `job`, and exit. For a multirun see vaegan/sweeping.

    Exit codes: 0 done; 1 a sweep with jobs that did not finish; 2 a mistake of the user (one sentence on stderr, no
    traceback, no empty folder left behind); 130 after Ctrl-C, 143 after SIGTERM; anything else comes from `job`.
    HYDRA_FULL_ERROR=1 shows the traceback of a mistake, too.

    Args:
        job: a function of a module that other processes can import by its name.
        options: the dataclass of the command's options, by whose names a mistyped one is answered.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # tidies up, as after Ctrl-C
    show_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands its exceptions over instead of printing them
    OmegaConf.register_new_resolver("run_folder", _run_folder, use_cache=True, replace=True)
    mistakes: list[Exception] = []
    crashes: list[Exception] = []

    def composed(cfg: DictConfig) -> None:
        hydra_config = HydraConfig.get()
        run_folder = Path(hydra_config.runtime.output_dir)
        try:
            if "sweep" in hydra_config.runtime.choices:
                raise UserError("+sweep=NAME is several runs; add -m (or `mode: MULTIRUN` under `hydra:` in its file).")
            job(Composition.of(cfg, hydra_config, run_folder, in_sweep=False))
        except (UserError, OmegaConfBaseException, OSError) as mistake:
            mistakes.append(mistake)  # kept, not raised: Hydra adds no line of its own
        except Exception as crash:
            crashes.append(crash)
            raise
        finally:
            _remove_if_empty(run_folder)

    composed.job = f"{job.__module__}:{job.__qualname__}"  # how a sweep names it to other processes (hydra_plugins)
    try:
        if any(argument.startswith("--e") for argument in sys.argv):  # argparse takes any beginning of the flag
            raise UserError(
                "--experimental-rerun is not offered: it would unpickle, and so execute, the file it is given."
            )
        vetting.vet_what_hydra_composes()
        hydra.main(config_path=str(CONF), config_name=config_name, version_base="1.3")(composed)()
    except KeyboardInterrupt:
        print("vaegan: interrupted", file=sys.stderr)
        sys.exit(130)
    except Exception as error:  # what a broken configuration file can make Hydra and YAML raise is open-ended
        if error in crashes:
            raise
        mistakes.insert(0, error)
    if mistakes:
        if show_traceback:
            raise mistakes[0]
        for sentence in dict.fromkeys(_sentence(mistake, options) for mistake in mistakes):
            print(f"vaegan: {sentence}", file=sys.stderr)
        sys.exit(2)
    sys.exit(0)


def _run_folder(experiment: str, resume: str | None) -> str:
    """outputs/<experiment>/<time>, made here so that of two runs that start at once each has its own.

    For a run that is gone on with ".", because it has its folder already.
    """
    if resume is not None:
        return "."
    if ".." in Path(experiment).parts or Path(experiment).is_absolute():
        raise UserError(f"{experiment!r} is no name for an experiment: its runs would lie outside outputs/.")
    started = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    for number in itertools.count(1):
        folder = Path("outputs", experiment, started if number == 1 else f"{started}-{number}")
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return str(folder)


def _remove_if_empty(folder: Path) -> None:
    """Undo _run_folder for a run that never began: the folder, outputs/<experiment> and outputs, as far as empty."""
    outputs = Path.cwd() / "outputs"
    for path in (folder, folder.parent, outputs):
        if path == outputs or path.is_relative_to(outputs):
            try:
                path.rmdir()
            except OSError:  # not empty
                return


def _sentence(error: Exception, options: type = config.Config) -> str:
    """Hydra's or OmegaConf's several lines as one sentence that names the nearest right name."""
    message = " ".join(line.strip() for line in str(error).splitlines() if line.strip())
    if isinstance(error, UserError):
        return message
    if isinstance(error, OSError) and not isinstance(error, HydraException):
        name = error.filename or "a file or the disk"
        return f"{name} cannot be used ({error.strerror or error}); choose another path or free it."
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and "/" in error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.removesuffix(".yaml").rpartition("/")
        if not error.options:
            return f"{group}={name} does not exist."
        options = [option.removesuffix(".yaml") for option in error.options]
        match = config.nearest(name, options)
        hint = f"did you mean {group}={match}? " if match else ""
        return f"{group}={name} does not exist; {hint}There are: {', '.join(options)}."
    if isinstance(error, OverrideParseException):
        return f"cannot read {error.override!r} on the command line; write key=value, for example seed=1."
    if match := re.search(r"Ambiguous value for argument '([^']+)'", message):
        if options is not config.Config:
            return f"{match[1]} are several values; write them as a list, {match[1].partition('=')[0]}=[A,B]."
        return f"{match[1]} are several values, which need a multirun: add -m."
    if match := re.search(r"Missing mandatory value: (\S+)", message):
        name = getattr(error, "full_key", None) or match[1]
        return f"{name} is missing; give it a value, {name}=..."
    if match := re.search(r"Could not override '([^']+)'\.?\s*No match in the defaults list", message):
        group = match[1].partition("@")[0]
        if group == "experiment":
            return "experiment is added, not replaced; write +experiment=NAME."
        return config.unknown_option(group, options)
    if match := re.search(r"Could not append to config\. An item is already at '([^']+)'", message):
        return f"{match[1]} is there already; write {match[1]}=VALUE, without +."
    if match := re.search(r"Could not (override|append to config|delete from config)[^']*'([^']+)'", message):
        if match[1] == "delete from config" and match[2] in config.option_names(options):
            return f"{match[2]} cannot be taken out; leave out ~{match[2]}, or give it another value."
        in_group = getattr(error.__cause__, "full_key", None) or ""  # model.a, where all of model was to be {a: 1}
        return config.unknown_option(in_group if in_group.startswith(f"{match[2]}.") else match[2], options)
    if match := re.search(r"In '([^']+)': .*Cannot merge DictConfig with ListConfig", message):
        return (
            f"{_merged_key(error)} in {match[1]} is a list where a group of options belongs, or the reverse; "
            f"`python -m vaegan.config` lists all."
        )
    if isinstance(error, HydraException) and not message and error.__cause__ is not None:
        return _sentence(error.__cause__, options)
    if isinstance(error, OmegaConfBaseException) and error.full_key:
        made = ", made of train.resume" if error.full_key == "hydra.run.dir" else ""
        return f"{error.full_key}{made}: {message.partition(' full_key:')[0]}."
    if isinstance(error, (HydraException, OmegaConfBaseException)):
        return message or type(error).__name__
    typed = ", ".join(argument[:100] for argument in sys.argv[1:])
    return (
        f"the configuration cannot be composed ({type(error).__name__}: {message}); check {typed or 'what was typed'} and "
        f"the files it is made of."
    )


def _merged_key(error: Exception) -> str:
    """The dotted key at which OmegaConf could not merge two files, which its message leaves out."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__) if frame.f_code.co_name == "_map_merge"]
    return ".".join(str(frame.f_locals.get("key")) for frame in frames) or "something"
