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
from vaegan.config import Config
from vaegan.errors import UserError
from vaegan.files import replacing


def job(composition: cli.Composition) -> None:
    """Check what Hydra composed, then train."""
    plan = runs.plan(composition)
    with plan.folder.in_use():
        train(plan)


def train(plan: runs.Plan) -> None:
    """Train what `plan` says and leave its run folder.

    Raises:
        UserError: a device that is not there, data that cannot be had, a model that does not fit into memory, or a
            checkpoint that is damaged or of other settings.
        SystemExit: 130 after Ctrl-C, 143 after SIGTERM; the last checkpoint is kept.
    """
    for line in summary(plan):
        print(line, flush=True)
    # torch and Lightning take seconds to import, so they come after the checks and the first lines.
    import torch
    from pytorch_lightning import Trainer
    from pytorch_lightning.loggers import TensorBoardLogger
    from safetensors.torch import save_file

    from vaegan.data.module import ImageData
    from vaegan.model import num_parameters
    from vaegan.reporting import plots
    from vaegan.training.checkpoints import WholeFileIO, check_checkpoint
    from vaegan.training.memory import check_memory, keep_freed_memory
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
    keep_freed_memory()
    if plan.resumed:
        check_checkpoint(folder, config)
    data = ImageData(config.data, config.seed)
    data.prepare_data()
    where = f"{device}, {torch.get_num_threads()} threads" if device.type == "cpu" else torch.cuda.get_device_name()

    screen = Screen()
    counts = ", ".join(f"{name} {count:,}" for name, count in parameters.items())
    screen.line(f"parameters  {sum(parameters.values()):,}: {counts}")
    screen.line(f"device      {where}, precision {precision}, float32 products: {matmul}")
    screen.line(f"run folder  {_shown(folder)}\n")
    facts = {"device": where, "matmul": matmul, "parameters": parameters}
    recorder = Recorder(plan, screen, facts)
    folder.last.parent.mkdir(parents=True, exist_ok=True)
    folder.write_config(config)

    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # its greetings say less than our summary
    module = VAEGANModule(config)
    trainer = Trainer(
        accelerator=config.trainer.accelerator,
        devices=config.trainer.devices,
        precision=config.trainer.precision,
        max_epochs=config.trainer.max_epochs,
        max_steps=config.trainer.max_steps or -1,
        logger=TensorBoardLogger(folder.path, name="", version="tensorboard", default_hp_metric=False)
        if config.logger.tensorboard
        else False,
        callbacks=[screen, Pictures(folder, config.logger.images_every_n_epochs), recorder],
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
        screen.line(f"stopped after epoch {recorder.status['epoch']}; go on with: {resume_command(plan)}")
        sys.exit(128 + recorder.stopped_by)
    except BaseException:
        recorder.finish("failed", traceback.format_exc())
        raise

    with replacing(folder.model) as temporary:
        save_file(module.model.state_dict(), temporary)
    plots.loss_curves(recorder.rows, folder.images / "curves.png")
    recorder.finish("finished")
    for line in closing(plan, recorder.rows):
        screen.line(line)


def find_device(accelerator: str):
    """The torch.device that Lightning will choose for `accelerator`; UserError if there is none."""
    import torch

    there = {"cpu": True, "gpu": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if accelerator == "auto":
        accelerator = next(name for name in ("gpu", "mps", "cpu") if there[name])
    if not there[accelerator]:
        has = ", ".join(name for name, available in there.items() if available)
        raise UserError(f"trainer.accelerator={accelerator} is not there on this machine; it has: {has}.")
    return torch.device({"gpu": "cuda"}.get(accelerator, accelerator))


def summary(plan: runs.Plan) -> list[str]:
    """What is about to be trained, in a few lines."""
    config, data, model, adam = plan.config, plan.config.data, plan.config.model, plan.config.optimizer
    noise = f"noise sigma {data.noise_std:g}{' clipped' if data.noise_clip else ''}" if data.noise_std else "no noise"
    held_out = f", {data.num_val:,} held out" if data.num_val else ""
    batch_norm = "BatchNorm" if model.batch_norm else "no BatchNorm"
    extras = " and on the encoder's output" * model.batch_norm_output + f", dropout {model.dropout:g}" * bool(
        model.dropout
    )
    epochs = f"{config.trainer.max_epochs} epochs of {data.num_train // data.batch_size} batches of {data.batch_size:,}"
    return [
        f"experiment  {plan.experiment}{' (resumed)' if plan.resumed else ''}, seed {config.seed}",
        f"data        {data.name}: {data.num_train:,} training images{held_out}, {noise}",
        f"model       d = {model.latent_dim}, hidden {model.hidden_dim:,}, {batch_norm}{extras}",
        f"objective   {_formula(config)}",
        f"training    {epochs}, Adam {adam.vae.lr:g}, discriminator {adam.discriminator.lr:g}",
    ]


def closing(plan: runs.Plan, rows: list[dict]) -> list[str]:
    """The last epoch's numbers and where everything is."""
    last, folder = rows[-1], _shown(plan.folder)
    splits = [split for split in ("train", "val", "test") if any(name.startswith(f"{split}/") for name in last)]
    names = list(dict.fromkeys(name.partition("/")[2] for name in last if "/" in name))
    table = [f"{'after epoch ' + str(last['epoch']):<22}" + "".join(f"{split:>10}" for split in splits)]
    for name in names:
        cells = (last.get(f"{split}/{name}") for split in splits)
        table.append(f"{name:<22}" + "".join(f"{cell:>10.3f}" if cell is not None else " " * 10 for cell in cells))
    look = [
        f"run folder  {folder}",
        f"pictures    {folder}/images",
        f"model       vaegan.load_run({folder!r})",
    ]
    if plan.config.logger.tensorboard:
        look.append(f"curves      tensorboard --logdir {folder}/tensorboard   (or make tensorboard)")
    return ["", *table, "losses in nats per image", "", *look]


def resume_command(plan: runs.Plan) -> str:
    return f"python -m vaegan.train train.resume={_shown(plan.folder)}"


def _formula(config: Config) -> str:
    """ "vaegan: reconstruction + 1 kl + 0.5 adversarial, fakes = prior"."""
    objective = config.objective
    terms = " + ".join(name if weight == 1 else f"{weight:g} {name}" for name, weight in objective.weights.items())
    return f"{objective.kind}: {terms}" + (f", fakes = {objective.fakes}" if objective.fakes else "")


def _shown(folder: runs.RunFolder) -> str:
    """The folder as a person would type it: relative to here where it lies below."""
    from pathlib import Path

    path = folder.path.absolute()
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def main() -> None:
    cli.run_command(job, "config")


if __name__ == "__main__":
    main()
