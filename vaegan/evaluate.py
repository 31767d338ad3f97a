"""`python -m vaegan.evaluate`: what a trained model can and cannot do, in numbers and pictures.

python -m vaegan.evaluate run=outputs/denoise_bn/<time>
python -m vaegan.evaluate run=outputs/paper metrics=[loss,likelihood]
"""

import sys
from pathlib import Path

from vaegan import cli, config
from vaegan.errors import UserError
from vaegan.evaluation.options import Options
from vaegan.reporting import text
from vaegan.reporting.collect import collect
from vaegan.runs import RunFolder


def job(composition: cli.Composition) -> None:
    """Check what Hydra composed, then evaluate."""
    evaluate(config.read(Options, composition.values))


def evaluate(options: Options) -> None:
    """Evaluate the runs that `options` names, and say on the screen what was found.

    Raises:
        UserError: not a run folder, an unfinished run, damaged weights, data that cannot be had.
        SystemExit: 1, if runs of a sweep are left out because they have not finished or cannot be read.
    """
    folders, left_out = _runs(options)
    for name, reason in left_out.items():
        print(f"vaegan: {name} is left out: {reason}.", file=sys.stderr)
    # torch takes seconds to import, so it comes after the checks.
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from vaegan.evaluation.runner import evaluate_run
    from vaegan.training.device import describe_device, find_device
    from vaegan.training.precision import set_matmul_precision

    device = find_device(options.accelerator, "accelerator")
    matmul = set_matmul_precision("auto", device)
    where = describe_device(device)
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"device      {where}, float32 products: {matmul}", markup=False)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=len(folders))
        for number, folder in enumerate(folders):

            def say(what: str, fraction: float, number: int = number) -> None:
                of = f"run {number + 1} of {len(folders)}, " if len(folders) > 1 else ""
                progress.update(task, description=f"{of}{what}", completed=number + fraction)

            try:
                groups = evaluate_run(folder, options, device, where, say)
            except UserError as error:
                if len(folders) == 1:
                    raise
                left_out[str(folder)] = str(error)
                print(f"vaegan: {folder} is left out: {error}", file=sys.stderr)
                continue
            console.print(f"\n{text.shown(folder)}/evaluation", markup=False)
            for line in text.evaluation(groups, options.metrics):
                console.print(line, markup=False)
    if len(folders) > 1:
        console.print(f"\nall in one: python -m vaegan.report {options.run[0]}", markup=False)
    if left_out:
        sys.exit(1)


def _runs(options: Options) -> tuple[list[RunFolder], dict[str, str]]:
    """The runs to evaluate, and those of a sweep that cannot be, with the reason."""
    folders: list[RunFolder] = []
    left_out: dict[str, str] = {}
    for path in map(Path, options.run):
        folder = RunFolder(path)
        if folder.config.is_file() or not path.is_dir():
            folder.read_config()
            if options.weights == "model" and folder.state != "finished":
                raise UserError(
                    f"{path} has not finished ({folder.state}); go on with it by train.resume={path}, or evaluate its last "
                    f"checkpoint with weights=last."
                )
            folders.append(folder)
            continue
        for run in collect(path):
            if run.is_finished:
                folders.append(run.folder)
            elif run.state != "duplicate":
                left_out[run.name] = f"{run.state}, {run.problem}" if run.problem else run.state
    if not folders:
        raise UserError(f"none of the runs in {', '.join(options.run)} has finished.")
    return folders, left_out


def main() -> None:
    from vaegan.evaluate import job

    if any(argument == "-m" or argument.startswith("--mu") for argument in sys.argv):
        print(
            "vaegan: evaluate takes several runs at once, run=[A,B] or a sweep's folder; leave -m out.", file=sys.stderr
        )
        sys.exit(2)
    cli.run_command(job, "evaluate", Options)


if __name__ == "__main__":
    main()
