"""Evaluates one run: its groups of metrics, one after the other, each written down as soon as it is known."""

import contextlib
import dataclasses
import hashlib
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from vaegan import __version__
from vaegan.errors import UserError
from vaegan.evaluation import pictures
from vaegan.evaluation.groups import GROUPS, Findings, group_options
from vaegan.evaluation.options import Options
from vaegan.evaluation.result import NotApplicable
from vaegan.evaluation.subject import Subject
from vaegan.files import write_whole
from vaegan.runs import RunFolder


def evaluate_run(
    folder: RunFolder, options: Options, device: torch.device, where: str, say: Callable[[str, float], None]
) -> dict[str, Any]:
    """The groups of evaluation/metrics.json (see RunFolder.read_evaluation) after what was missing has been computed.

    Args:
        where: the device in words.
        say: is told the name of what is being done and how much of the run's evaluation, from 0 to 1, is over.

    Raises:
        UserError: weights or data that cannot be had.
    """
    with torch.no_grad(), folder.in_use():
        subject = Subject(folder, options, device)
        digest = _digest(folder.weights(options.weights))
        groups = _known(folder, digest)
        wanted = [name for name in GROUPS if name in options.metrics]
        missing = [name for name in wanted if options.again or not _is_done(groups.get(name), name, subject)]
        total = sum(GROUPS[name][1] for name in missing) * (1 + options.figures / 4)
        done = 0.0
        folder.evaluation.mkdir(exist_ok=True)
        for name in missing:
            compute, cost = GROUPS[name]
            before = done
            subject.tick = lambda fraction, name=name, cost=cost, before=before: say(
                name, (before + fraction * cost) / total
            )
            subject.tick(0)
            start = time.monotonic()
            try:
                found = compute(subject)
            except NotApplicable as reason:
                found = Findings(not_applicable={"": str(reason)})
            _drop_what_is_not_finite(found)
            groups[name] = {
                "options": group_options(name, subject),
                "weights_sha256": digest,
                "device": where,
                "seconds": round(time.monotonic() - start, 1),
                "metrics": {key: dataclasses.asdict(metric) for key, metric in found.metrics.items()},
                "not_applicable": found.not_applicable,
                "arrays": found.arrays,
                "pictures": None,  # not drawn yet
            }
            _write(folder, groups)
            done += cost
            if options.figures:
                groups[name]["pictures"] = []
                with contextlib.suppress(NotApplicable):  # a GAN's codes are as little to be shown as to be measured
                    for path in pictures.draw(name, subject, found, folder.evaluation):
                        say(path.name, (done + cost / 8) / total)
                        groups[name]["pictures"].append(path.name)
                _write(folder, groups)
                done += cost / 4
        if options.projector and subject.model.encoder is not None:
            say("projector", 1.0)
            pictures.write_projector(subject, folder.tensorboard / "projector")
    return groups


def _is_done(group: dict[str, Any] | None, name: str, subject: Subject) -> bool:
    """Is all there that is asked for?"""
    if group is None or group["options"] != group_options(name, subject):
        return False
    return group.get("pictures") is not None or not subject.options.figures


def _write(folder: RunFolder, groups: dict[str, Any]) -> None:
    content = {"vaegan": __version__, "groups": {name: groups[name] for name in GROUPS if name in groups}}
    write_whole(folder.evaluation_metrics, json.dumps(content, indent=1) + "\n")


def _known(folder: RunFolder, digest: str) -> dict[str, Any]:
    """The groups that are in metrics.json already and belong to the same weights."""
    try:
        groups = folder.read_evaluation()
    except UserError:
        return {}  # damaged: computed anew
    return {name: group for name, group in groups.items() if group.get("weights_sha256") == digest}


def _drop_what_is_not_finite(found: Findings) -> None:
    """A model that has diverged gives numbers that are none; JSON and the report know only finite ones."""
    for name, metric in list(found.metrics.items()):
        if not math.isfinite(metric.value):
            found.not_applicable[name] = f"it came out as {found.metrics.pop(name).value}"
        elif metric.standard_error is not None and not math.isfinite(metric.standard_error):
            found.metrics[name] = dataclasses.replace(metric, standard_error=None)
    for name, array in list(found.arrays.items()):
        if not all(map(math.isfinite, array)):
            del found.arrays[name]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
