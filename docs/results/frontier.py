"""Reconstruction against sample quality of evaluated runs, drawn into frontier.png beside this file.

python docs/results/frontier.py outputs/objectives outputs/adversarial outputs/tuned outputs/tuned_bn
"""

import sys
from pathlib import Path

from matplotlib import pyplot as plt

from vaegan.reporting.collect import Run, collect

STYLE = {  # objective, BatchNorm: colour, marker
    ("vae", False): ("#0072B2", "o"),
    ("vae", True): ("#56B4E9", "s"),
    ("vaegan", False): ("#D55E00", "^"),
    ("vaegan", True): ("#E69F00", "D"),
}


def label(run: Run) -> str:
    """What departs from the VAE-GAN's defaults."""
    options = run.options
    if options["objective.kind"] == "vae":
        return ""
    weight, lr = options["objective.adversarial_weight"], options["optimizer.discriminator.lr"]
    parts = [f"{weight:g}"] * (weight != 1) + [f"lr {lr:g}"] * (lr != 1e-3)
    return ", ".join(parts + ["both"] * (options["objective.fakes"] == "both"))


figure, axes = plt.subplots(figsize=(10, 6.5), dpi=110, layout="constrained")
seen = set()
for run in (run for folder in sys.argv[1:] for run in collect(Path(folder)) if run.is_finished):
    key = run.options["objective.kind"], run.options["model.batch_norm"]
    if key not in STYLE or "generation/prior/frechet_distance" not in run.evaluated:
        continue
    point = [run.evaluated[name]["value"] for name in ("loss/reconstruction", "generation/prior/frechet_distance")]
    if point[0] > 78 or point[1] > 9:
        continue  # far from any VAE; the tables have them
    colour, marker = STYLE[key]
    name = f"{key[0].upper().replace('VAEGAN', 'VAE-GAN')}{', BatchNorm' if key[1] else ''}"
    axes.plot(*point, marker, color=colour, markersize=7, label=None if name in seen else name, alpha=0.85)
    if run.seed == 0:
        axes.annotate(label(run), point, xytext=(6, 3), textcoords="offset points", fontsize=8)
    seen.add(name)
axes.set_xlabel("reconstruction, nats per image (z = mu, test images)")
axes.set_ylabel("Fréchet distance of 10,000 samples from the prior")
axes.grid(alpha=0.3)
axes.legend(frameon=False, loc="lower right")
axes.set_xlim(right=78.6)
figure.savefig(Path(__file__).parent / "frontier.png")
