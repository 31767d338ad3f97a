"""What a run says in words: before it starts, when it stops, when it is done."""

from pathlib import Path

from vaegan.config import Config
from vaegan.runs import Plan, RunFolder


def summary(plan: Plan) -> list[str]:
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


def closing(plan: Plan, rows: list[dict]) -> list[str]:
    """The last epoch's numbers and where everything is."""
    last, folder = rows[-1], shown(plan.folder)
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
        look.append(f"curves      tensorboard --logdir {folder}/tensorboard")
    return ["", *table, "losses in nats per image", "", *look]


def resume_command(plan: Plan) -> str:
    return f"python -m vaegan.train train.resume={shown(plan.folder)}"


def _formula(config: Config) -> str:
    """ "vaegan: reconstruction + 1 kl + 0.5 adversarial, fakes = prior"."""
    objective = config.objective
    terms = " + ".join(name if weight == 1 else f"{weight:g} {name}" for name, weight in objective.weights.items())
    return f"{objective.kind}: {terms}" + (f", fakes = {objective.fakes}" if objective.fakes else "")


def shown(folder: RunFolder) -> str:
    """The folder as a person would type it: relative to here where it lies below."""
    path = folder.path.absolute()
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
