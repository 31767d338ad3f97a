"""The report of a sweep: tables, sentences, figures, as one HTML page, as Markdown, and as data."""

import base64
import csv
import io
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any

from vaegan.files import replacing, write_whole
from vaegan.reporting import evaluation, evaluation_figures, figures
from vaegan.reporting.collect import Run
from vaegan.reporting.comparison import (
    BATCH_NORM,
    BesidePaper,
    Estimate,
    Group,
    Section,
    beside_paper,
    claim,
    describe,
    sections,
    verdict,
)
from vaegan.reporting.paper import NUM_PRINTED
from vaegan.reporting.tables import Table, heading, setting_labels

_FEW_RUNS = 2  # whose own pictures are shown


@dataclass(frozen=True)
class Part:
    """A section of the page."""

    title: str
    lines: list[str]
    tables: list[Table]
    pictures: list[figures.Picture] = field(default_factory=list)
    facts: list[Table] = field(default_factory=list)


def write(runs: list[Run], source: Path, folder: Path, say: Callable[[str], None]) -> list[Path]:
    """Write the report of `runs` into `folder`; the files a reader opens.

    Args:
        runs: what collect found in `source`.
        say: is told what is being drawn.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "figures").mkdir(exist_ok=True)
    for old in (folder / "figures").glob("*.*"):
        old.unlink()
    parts = [_overview(runs)]
    for section in sections(runs):
        pictures = []
        for picture in figures.draw(section, folder / "figures"):
            say(picture.png.name)
            pictures.append(picture)
        parts.append(_part(section, pictures))
        if evaluation.is_evaluated(section):
            alone = len(runs) <= _FEW_RUNS and len(section.groups) == 1  # its own pictures say all that can be drawn
            pictures = [] if alone else evaluation_figures.draw(section, folder / "figures")
            parts.append(_evaluation_part(section, pictures, say))
    parts += _run_parts(runs, folder / "figures")
    title = f"vaegan: {source.resolve().name}"
    table = runs_table(runs)
    with replacing(folder / "runs.parquet") as temporary:
        _write_parquet(table, temporary)
    write_whole(folder / "runs.csv", _csv(table))
    files = [folder / "report.html", folder / "report.md", folder / "runs.csv", folder / "runs.parquet"]
    for path in files[:2]:
        write_whole(path, _render(f"{path.name}.j2", title=title, parts=parts, folder=folder))
    return files


def _overview(runs: list[Run]) -> Part:
    counts = Counter(run.state for run in runs)
    unfinished = [run for run in runs if not run.is_finished]
    lines = [
        f"{len(runs)} run{'s' * (len(runs) > 1)}: "
        + ", ".join(f"{n} {state}" for state, n in counts.most_common())
        + "."
    ]
    data = sorted({run.options["data.name"] for run in runs if run.is_finished})
    if len(data) > 1:
        lines.append(f"They are of different data sets ({', '.join(data)}), which are kept apart below.")
    lines += _evaluation_problems(runs)
    if unfinished:
        lines.append("Only finished runs are in the tables and figures; the others are these:")
    revisions = sorted({_short_revision(run.status.get("revision")) for run in runs if run.is_finished})
    versions = sorted({f"{name} {number}" for run in runs for name, number in run.status.get("versions", {}).items()})
    devices = sorted({run.status["device"] for run in runs if run.status.get("device")})
    facts = Table(
        "How they were run",
        ["what", "value"],
        [
            ["device", "; ".join(devices)],
            ["versions", ", ".join(versions)],
            ["git revision of vaegan", ", ".join(revisions)],
        ],
        num_labels=2,
    )
    missing = Table(
        "Not finished",
        ["run", "state", "why"],
        [[run.name, run.state, run.problem or ""] for run in unfinished],
        num_labels=3,
    )
    return Part("Runs", lines, [missing] if unfinished else [], facts=[facts])


def _evaluation_problems(runs: list[Run]) -> list[str]:
    return [
        f"The evaluation of {run.name} is left out: {run.evaluation_problem}" for run in runs if run.evaluation_problem
    ]


def _short_revision(revision: str | None) -> str:
    return "unknown" if revision is None else revision[:10] + "+changes" * revision.endswith("+changes")


def _part(section: Section, pictures: list[figures.Picture]) -> Part:
    lines = [verdict(pair) for pair in section.pairs if pair.has_test_loss]
    tables = [_beside_table(beside) for beside in beside_paper(section)]
    tables.append(_results_table(section))
    if lines:
        tables.append(_batch_norm_table(section))
    derived = {"data.name"} | ({"model.hidden_dim"} if "model.latent_dim" in section.varying else set())
    shown = {key: value for key, value in section.constant.items() if value is not None and key not in derived}
    same = Table(
        "The same in all runs",
        ["option", "value"],
        [[key, f"{value:g}" if isinstance(value, float) else str(value)] for key, value in shown.items()],
        num_labels=2,
    )
    return Part(f"Data set {section.data}", lines, tables, pictures, [same])


def _evaluation_part(section: Section, drawn: Iterable[figures.Picture], say: Callable[[str], None]) -> Part:
    pictures = []
    for picture in drawn:
        say(picture.png.name)
        pictures.append(picture)
    lines, tables = evaluation.sentences(section), evaluation.tables(section)
    return Part(f"Evaluation on {section.data}", lines, tables, pictures, [evaluation.how_evaluated(section)])


def _run_parts(runs: list[Run], folder: Path) -> list[Part]:
    """The pictures of the runs' own evaluations, if there are so few runs that they are worth their place."""
    if len(runs) > _FEW_RUNS:
        return []
    pictures = [(run, list(evaluation_figures.of_run(run, number, folder))) for number, run in enumerate(runs, start=1)]
    return [Part(f"Pictures of {run.name}", [], [], own) for run, own in pictures if own]


def _beside_table(beside: BesidePaper) -> Table:
    digits = 1 if beside.table.scale == 1 else 0
    seeds = min(len(beside.pair.plain.runs), len(beside.pair.batch_norm.runs))
    rows = [
        [
            f"{epoch}{'' if epoch <= NUM_PRINTED else ' *'}",
            *_compared(plain, ours_plain, digits),
            *_compared(normed, ours_normed, digits),
        ]
        for epoch, plain, ours_plain, normed, ours_normed in beside.rows()
    ]
    unit = (
        "nats per image"
        if beside.table.scale == 1
        else f"nats summed over a batch of {beside.table.scale:,} images, mean over batches"
    )
    note = (
        f"{claim(beside)} In {unit}; ours is the mean{' ± standard deviation' if seeds > 1 else ''} over {seeds} "
        f"seed{'s' * (seeds > 1)}, × is ours over the paper's. The paper's table has the first {NUM_PRINTED} epochs; those with "
        f"* are from its figures."
    )
    if beside.table.denoising:
        note += " The paper does not state its noise level."
    header = ["Epoch", "Normal training, paper", "ours", "×", "Regularizing (BatchNorm), paper", "ours", "×"]
    return Table(beside.title, header, rows, note)


def _compared(paper: float, ours: Estimate, digits: int) -> list[str]:
    return [f"{paper:,.{digits}f}", ours.show(digits), f"{ours.mean / paper:.2f}"]


def _results_table(section: Section) -> Table:
    """A row for each setting."""
    with_loss = any(group.has("test/loss") for group in section.groups)
    header = [heading(key) for key in section.varying] or ["setting"]
    num_labels = len(header)
    header += (
        ["seeds", "epochs"] + (["test loss", "training loss", "test − train"] if with_loss else []) + ["s / epoch"]
    )
    rows = []
    for group in section.groups:
        row = setting_labels(group.settings)
        row += [str(len(group.runs)), str(group.epochs[-1])]
        if with_loss:
            has = group.has("test/loss")
            row += [
                group.final("test/loss").show() if has else "",
                group.final("train/loss").show(),
                group.gap()[-1].show() if has else "",
            ]
        rows.append([*row, _seconds_per_epoch(group)])
    note = (
        "After the last epoch, in nats per image, mean ± standard deviation over seeds (a single seed has none). test − train "
        "compares reconstruction + KL alone."
        if with_loss
        else "Models without an encoder have no test loss."
    )
    return Table("All settings", header, rows, note, num_labels)


def _batch_norm_table(section: Section) -> Table:
    rest = [key for key in section.varying if key != BATCH_NORM]
    header = [heading(key) for key in rest] or ["setting"]
    num_labels = len(header)
    header += ["without BatchNorm", "with", "gain", "epochs", "of", "seconds", "of"]
    rows = []
    for pair in section.pairs:
        if not pair.has_test_loss:
            continue
        row = setting_labels(pair.settings)
        plain = pair.plain.final("test/loss")
        gain = pair.gain("test/loss")
        row += [plain.show(), pair.batch_norm.final("test/loss").show(), gain[-1].show() if gain else ""]
        for reached, total in zip(pair.reach(), (len(pair.plain.epochs), _total_seconds(pair.plain)), strict=True):
            known = all(value is not None for value in reached)
            row += [f"{mean(reached):.3g}" if known else "never", f"{total:.0f}" if total else ""]
        rows.append(row)
    note = (
        "Test loss after the last epoch; gain is how much lower it is with BatchNorm, seed by seed. Then: in how many epochs and "
        "seconds the model with BatchNorm gets to the final loss of the one without, of how many that took."
    )
    return Table("Does BatchNorm help?", header, rows, note, num_labels)


def _total_seconds(group: Group) -> float | None:
    seconds = group.seconds()
    return seconds[-1].mean if seconds else None


def _seconds_per_epoch(group: Group) -> str:
    each = [mean(run.epoch_seconds) for run in group.runs if run.epoch_seconds]
    return Estimate(tuple(each)).show() if each else ""


def runs_table(runs: list[Run]) -> list[dict[str, Any]]:
    """A row for each run, finished or not: settings, state, final metrics, test and training loss after each epoch."""
    rows = []
    for run in runs:
        row: dict[str, Any] = {"run": run.name, "state": run.state, "problem": run.problem}
        row |= {key: str(value) if isinstance(value, list) else value for key, value in run.options.items()}
        row |= {
            "epochs": len(run.rows),
            "seconds": round(sum(run.epoch_seconds), 3) if run.epoch_seconds else None,
            "started": run.status.get("started"),
            "device": run.status.get("device"),
            "revision": run.status.get("revision"),
        }
        row |= {f"evaluation {name}": metric["value"] for name, metric in run.evaluated.items()}
        if run.rows:
            row |= {f"final {name}": value for name, value in run.rows[-1].items() if "/" in name}
        for metric in ("test/loss", "train/loss"):
            row |= {f"{metric} {at['epoch']}": at[metric] for at in run.rows if metric in at}
        rows.append(row)
    columns = dict.fromkeys(key for row in rows for key in row)
    return [{key: _readable(row.get(key)) for key in columns} for row in rows]


def _readable(value: Any) -> Any:
    """Text that any file can hold: a folder's name need not be valid Unicode."""
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value


def _csv(table: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(table[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return text.getvalue()


def _write_parquet(table: list[dict[str, Any]], path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    columns = {key: [row[key] for row in table] for key in table[0]}
    for values in columns.values():
        kinds = {type(value) for value in values if value is not None}
        if len(kinds) > 1 and kinds != {int, float}:  # a column has one type
            values[:] = [None if value is None else str(value) for value in values]
    parquet.write_table(pyarrow.table(columns), path)


def _render(template: str, **values: Any) -> str:
    from jinja2 import Environment, PackageLoader

    environment = Environment(
        loader=PackageLoader("vaegan.reporting"),
        autoescape=template.endswith(".html.j2"),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["embedded"] = _embedded
    environment.filters["prose"] = lambda text: text.replace("<", "&lt;").replace("\n", " ")
    environment.filters["cell"] = lambda text: text.replace("<", "&lt;").replace("|", "\\|").replace("\n", " ")
    return environment.get_template(template).render(**values)


def _embedded(picture: figures.Picture) -> str:
    """The picture as an address that holds all of it: SVG, unless there is none or it is much larger than the PNG."""
    png = picture.png.read_bytes()
    svg = picture.svg.read_bytes() if picture.svg else None
    kind, content = ("svg+xml", svg) if svg and len(svg) < 2 * len(png) else ("png", png)
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def headline(runs: list[Run]) -> list[str]:
    """What the report says, for the screen."""
    lines = list(dict.fromkeys([*_overview(runs).lines[:2], *_evaluation_problems(runs)]))
    for section in sections(runs):
        lines += [f"{beside.title}. {claim(beside)}" for beside in beside_paper(section)]
        lines += [verdict(pair) for pair in section.pairs if pair.has_test_loss]
        if not section.pairs:
            lines += [
                f"{describe(group.settings)}: test loss {group.final('test/loss').show()}"
                for group in section.groups
                if group.has("test/loss")
            ]
        lines += evaluation.headline(section)
    return lines
