"""From a plan to a Trainer that is ready to fit: device, precision, memory, data, callbacks."""

import logging

from pytorch_lightning import Callback, Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.plugins.environments import LightningEnvironment

from vaegan.data.module import ImageData
from vaegan.model import num_parameters
from vaegan.reporting import text
from vaegan.runs import Plan
from vaegan.training.checkpoints import WholeFileIO, check_checkpoint
from vaegan.training.device import describe_device, find_device
from vaegan.training.memory import KeptMemory, check_memory, has_room_to_spare
from vaegan.training.module import VAEGANModule
from vaegan.training.parallel import Group
from vaegan.training.pictures import Pictures
from vaegan.training.precision import emulated_bf16, settle
from vaegan.training.recorder import MaxSteps, Recorder
from vaegan.training.screen import Screen
from vaegan.training.signals import Signals


def set_up(plan: Plan, signals: Signals, group: Group) -> tuple[Trainer, VAEGANModule, ImageData, Recorder]:
    """Check that the plan can be run here; in the first process of the group print with what, and begin the run folder.

    Raises:
        UserError: as vaegan.train.train does; nothing is written then.
    """
    folder = plan.folder
    device = find_device(plan.config.trainer.accelerator)
    plan, matmul = settle(plan, device)
    config = plan.config
    parameters = num_parameters(config.model, config.objective)
    check_memory(config, sum(parameters.values()), device)
    is_roomy = has_room_to_spare(config, sum(parameters.values()), device)
    step = check_checkpoint(plan) if plan.resumed else None
    data = ImageData(config.data, config.seed)
    data.prepare_data()
    where = describe_device(device) + (f", {group.size} of them" if group.size > 1 else "")

    is_first = group.rank == 0
    screen = Screen(quiet=not is_first)
    counts = ", ".join(f"{name} {count:,}" for name, count in parameters.items())
    screen.line(f"parameters  {sum(parameters.values()):,}: {counts}")
    screen.line(f"device      {where}, precision {config.trainer.precision}, float32 products: {matmul}")
    if config.trainer.precision == "bf16-mixed" and device.type == "cpu" and (times := emulated_bf16()):
        screen.line(
            f"            bf16 products take {times:.0f} times as long as float32's, because this CPU must emulate them: "
            f"trainer.precision=32-true is faster"
        )
    if config.train.compile:
        screen.line("step        compiled first: half a minute, or seconds where it has been before")
    screen.line(f"run folder  {text.shown(folder)}\n")
    facts = {"device": where, "matmul": matmul, "parameters": parameters}
    recorder = Recorder(plan, screen, signals, facts)
    if is_first:
        folder.last.parent.mkdir(parents=True, exist_ok=True)
        folder.write_config(config)

    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # its greetings say less than our summary
    board = False
    callbacks: list[Callback] = [MaxSteps()]
    if device.type == "cpu" and is_roomy and not config.train.low_memory:
        callbacks.append(KeptMemory(config, sum(parameters.values()), screen.line))
    if is_first:
        callbacks += [screen, Pictures(folder, config.logger.images_every_n_epochs)]
        if config.logger.metrics_every_n_epochs is not None:
            from vaegan.training.evaluations import Evaluations

            callbacks.append(Evaluations(config.logger.metrics_every_n_epochs))
        callbacks.append(recorder)
        if config.logger.tensorboard:
            # What was logged after the checkpoint is hidden, because it is logged again.
            board = TensorBoardLogger(
                folder.path, name="", version="tensorboard", default_hp_metric=False, purge_step=step and step + 1
            )
    trainer = Trainer(
        accelerator=config.trainer.accelerator,
        devices=[group.rank] if device.type == "cuda" and group.size > 1 else 1,
        precision=config.trainer.precision,
        deterministic=config.trainer.deterministic,
        max_epochs=config.trainer.max_epochs,
        max_steps=config.trainer.max_steps or -1,
        default_root_dir=folder.path,
        logger=board,
        callbacks=callbacks,
        # Lightning's own environment, on a cluster too: its SLURM one would requeue the job and load files of its own.
        plugins=[WholeFileIO(), LightningEnvironment()],
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    return trainer, VAEGANModule(config, group), data, recorder
