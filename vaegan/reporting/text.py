"""What a run says in words: before it starts, when it stops, when it is done."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vaegan.config import Config
from vaegan.runs import Plan, RunFolder


def summary(plan: Plan) -> list[str]:
    """What is about to be trained, in a few lines."""
    config, data, model, adam = plan.config, plan.config.data, plan.config.model, plan.config.optimizer
    noise = f"noise sigma {data.noise_std:g}{' clipped' if data.noise_clip else ''}" if data.noise_std else "no noise"
    held_out = f", {data.num_val:,} held out" if data.num_val else ""
    held_out += f", without class {data.held_out_class}" if data.held_out_class is not None else ""
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


def cannot_be_written(plan: Plan, error: OSError) -> str:
    """What to do about a run folder that fills up, or is gone."""
    folder = shown(plan.folder)
    if not plan.folder.path.is_dir():
        return f"{folder} was deleted while the run was at work, so training stops; start the run again."
    kept = "its last checkpoint is whole" if plan.folder.last.exists() else "there is no checkpoint yet"
    return (
        f"{folder} can no longer be written ({error.strerror or error}), so training stops; {kept}; make room, then go on "
        f"with: {resume_command(plan)}"
    )


def _formula(config: Config) -> str:
    """ "vaegan: reconstruction + 1 kl + 0.5 adversarial, fakes = prior"."""
    objective = config.objective
    terms = " + ".join(name if weight == 1 else f"{weight:g} {name}" for name, weight in objective.weights.items())
    return f"{objective.kind}: {terms}" + (f", fakes = {objective.fakes}" if objective.fakes else "")


def shown(folder: RunFolder) -> str:
    """The folder as a person would type it: relative to here where it lies below."""
    path = folder.path.absolute()
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def evaluation(groups: dict[str, dict[str, Any]], names: Iterable[str]) -> list[str]:
    """The metrics of evaluation/metrics.json as a table, group by group."""
    lines = []
    for name in names:
        group = groups[name]
        lines += [
            "",
            f"{name}{'' if '' not in group['not_applicable'] else ': not applicable, ' + group['not_applicable']['']}",
        ]
        for key, metric in group["metrics"].items():
            error = metric["standard_error"]
            value = f"{metric['value']:>12,.4g}" + (f" ± {error:<8.2g}" if error is not None else " " * 11)
            lines.append(f"  {key:<36}{value}  {metric['unit']}, n = {metric['n']:,}")
        lines += [f"  {key}: not applicable, {reason}" for key, reason in group["not_applicable"].items() if key]
    return lines
