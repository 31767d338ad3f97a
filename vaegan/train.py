"""`python -m vaegan.train`: train one model and leave a run folder.

python -m vaegan.train +experiment=denoise_bn
python -m vaegan.train train.resume=outputs/denoise_bn/<time>
"""

import sys
import traceback
import warnings
from typing import TYPE_CHECKING

from vaegan import cli, runs, sealed
from vaegan.errors import UserError
from vaegan.reporting import text

if TYPE_CHECKING:
    from pytorch_lightning import Trainer

    from vaegan.data.module import ImageData
    from vaegan.training.module import VAEGANModule
    from vaegan.training.parallel import Group


def job(composition: cli.Composition) -> None:
    """Check what Hydra composed, then train."""
    plan = runs.plan(composition)
    with runs.held(plan):
        train(plan)


def train(plan: runs.Plan) -> None:
    """Train what `plan` says and leave its run folder.

    Raises:
        UserError: a device that is not there, data that cannot be had, a model that does not fit into memory, or a
            checkpoint that is damaged or of other settings.
        UserError: also a value that is no longer finite, or a run folder that can no longer be written; the last good
            checkpoint is kept.
        SystemExit: 130 after Ctrl-C, 143 after SIGTERM; the run can be gone on with exactly where it stopped.
    """
    for line in text.summary(plan):
        print(line, flush=True)
    if plan.config.trainer.devices > 1:
        from vaegan.training.processes import run_in_processes

        run_in_processes(fit, plan)
    else:
        fit(plan)


def fit(plan: runs.Plan, group: "Group | None" = None) -> None:
    """The work of `train` in one of the processes of `group`, of which the first writes the run folder."""
    from vaegan.training.signals import Signals, Stopped

    folder = plan.folder
    with Signals() as signals:
        try:
            # torch and Lightning take seconds to import, so they come after the checks and the first lines. A signal waits
            # for them: an exception in the middle of an import leaves half a module behind.
            signals.wait()
            from vaegan.reporting import plots
            from vaegan.training.parallel import ALONE
            from vaegan.training.setup import set_up

            signals.act_at_once()
            group = group or ALONE
            trainer, module, data, recorder = set_up(plan, signals, group)
        except Stopped as stop:  # nothing has begun
            sys.exit(128 + stop.signal)
        if group.rank > 0:
            _run(trainer, module, data, plan)
            return
        try:
            _run(trainer, module, data, plan)
            sealed.save_weights(module.model.state_dict(), folder.model)
            plots.loss_curves(recorder.rows, folder.images / "curves.png")
            recorder.finish("finished")
        except Stopped as stop:
            recorder.finish("interrupted", stop.signal.name)
            step = recorder.status["step"]
            recorder.screen.line(f"stopped after step {step:,}; go on with: {text.resume_command(plan)}")
            sys.exit(128 + stop.signal)
        except UserError as error:
            recorder.finish("failed", str(error))
            raise
        except OSError as error:
            sentence = text.cannot_be_written(plan, error)
            recorder.finish("failed", sentence)
            raise UserError(sentence) from error
        except BaseException as error:
            recorder.finish("failed", traceback.format_exc())
            if isinstance(error, Exception) and plan.resumed and not recorder.has_begun:
                raise UserError(f"{plan.checkpoint} does not fit the run ({type(error).__name__}: {error}).") from error
            raise
    for line in text.closing(plan, recorder.rows):
        recorder.screen.line(line)


def _run(trainer: "Trainer", module: "VAEGANModule", data: "ImageData", plan: runs.Plan) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        trainer.fit(module, datamodule=data, ckpt_path=plan.checkpoint)


def main() -> None:
    from vaegan.train import job  # not __main__'s: a sweep's processes import it by name

    cli.run_command(job, "config")


if __name__ == "__main__":
    main()
