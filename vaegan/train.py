"""`python -m vaegan.train`: train one model and leave a run folder.

python -m vaegan.train +experiment=denoise_bn
python -m vaegan.train train.resume=outputs/denoise_bn/<time>
"""

import logging
import sys
import traceback
import warnings
from dataclasses import replace

from vaegan import cli, runs
from vaegan.errors import UserError
from vaegan.files import replacing
from vaegan.reporting import text


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
        UserError: also a loss that is no longer finite; the last good checkpoint is kept.
        SystemExit: 130 after Ctrl-C, 143 after SIGTERM; the last checkpoint is kept.
    """
    for line in text.summary(plan):
        print(line, flush=True)
    # torch and Lightning take seconds to import, so they come after the checks and the first lines.
    from pytorch_lightning import Trainer
    from pytorch_lightning.loggers import TensorBoardLogger
    from safetensors.torch import save_file

    from vaegan.data.module import ImageData
    from vaegan.model import num_parameters
    from vaegan.reporting import plots
    from vaegan.training.checkpoints import WholeFileIO, check_checkpoint
    from vaegan.training.device import describe_device, find_device
    from vaegan.training.memory import check_memory, has_room_to_spare, keep_freed_memory
    from vaegan.training.module import VAEGANModule
    from vaegan.training.pictures import Pictures
    from vaegan.training.precision import choose_precision, set_matmul_precision
    from vaegan.training.recorder import Recorder
    from vaegan.training.screen import Screen

    folder = plan.folder
    device = find_device(plan.config.trainer.accelerator)
    matmul = set_matmul_precision(plan.config.train.matmul, device)
    precision = choose_precision(plan.config.trainer.precision, device)
    # What auto means here and now is kept with the run, so that it goes on in the same precision.
    config = replace(plan.config, trainer=replace(plan.config.trainer, precision=precision))
    plan = replace(plan, config=config)
    parameters = num_parameters(config.model, config.objective)
    check_memory(config, sum(parameters.values()), device)
    if device.type == "cpu" and has_room_to_spare(config, sum(parameters.values()), device):
        keep_freed_memory()
    if plan.resumed:
        check_checkpoint(folder, config)
    data = ImageData(config.data, config.seed)
    data.prepare_data()
    where = describe_device(device)

    screen = Screen()
    counts = ", ".join(f"{name} {count:,}" for name, count in parameters.items())
    screen.line(f"parameters  {sum(parameters.values()):,}: {counts}")
    screen.line(f"device      {where}, precision {precision}, float32 products: {matmul}")
    screen.line(f"run folder  {text.shown(folder)}\n")
    facts = {"device": where, "matmul": matmul, "parameters": parameters}
    recorder = Recorder(plan, screen, facts)
    folder.last.parent.mkdir(parents=True, exist_ok=True)
    folder.write_config(config)

    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # its greetings say less than our summary
    module = VAEGANModule(config)
    measured = []
    if config.logger.metrics_every_n_epochs is not None:
        from vaegan.training.evaluations import Evaluations

        measured.append(Evaluations(config.logger.metrics_every_n_epochs))
    trainer = Trainer(
        accelerator=config.trainer.accelerator,
        devices=config.trainer.devices,
        precision=config.trainer.precision,
        max_epochs=config.trainer.max_epochs,
        max_steps=config.trainer.max_steps or -1,
        logger=TensorBoardLogger(folder.path, name="", version="tensorboard", default_hp_metric=False)
        if config.logger.tensorboard
        else False,
        callbacks=[screen, Pictures(folder, config.logger.images_every_n_epochs), *measured, recorder],
        plugins=[WholeFileIO()],
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="pytorch_lightning")
            trainer.fit(module, datamodule=data, ckpt_path=folder.last if plan.resumed else None)
    except SystemExit:  # Lightning turns Ctrl-C and SIGTERM into exits of its own
        if recorder.stopped_by is None:
            recorder.finish("failed", traceback.format_exc())
            raise
        recorder.finish("interrupted", recorder.stopped_by.name)
        screen.line(f"stopped after epoch {recorder.status['epoch']}; go on with: {text.resume_command(plan)}")
        sys.exit(128 + recorder.stopped_by)
    except UserError as error:
        recorder.finish("failed", str(error))
        raise
    except BaseException:
        recorder.finish("failed", traceback.format_exc())
        raise

    with replacing(folder.model) as temporary:
        save_file(module.model.state_dict(), temporary)
    plots.loss_curves(recorder.rows, folder.images / "curves.png")
    recorder.finish("finished")
    for line in text.closing(plan, recorder.rows):
        screen.line(line)


def main() -> None:
    from vaegan.train import job  # not __main__'s: a sweep's processes import it by name

    cli.run_command(job, "config")


if __name__ == "__main__":
    main()
