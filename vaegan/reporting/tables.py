"""Tables of a report, and how settings are named in them."""

from dataclasses import dataclass
from typing import Any

from vaegan.reporting.comparison import BATCH_NORM


@dataclass(frozen=True)
class Table:
    """Text in rows; the first `num_labels` columns are words, the others numbers."""

    title: str
    header: list[str]
    rows: list[list[str]]
    note: str = ""
    num_labels: int = 1


def heading(key: str) -> str:
    """The heading of a column with the values of one option."""
    names = {"model.latent_dim": "d", "data.noise_std": "noise sigma", BATCH_NORM: "BatchNorm"}
    return names.get(key, key.rpartition(".")[2].replace("_", " "))


def value(key: str, value: Any) -> str:
    """An option's value, under its heading."""
    if key == BATCH_NORM:
        return "with" if value else "without"
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def setting_labels(settings: dict[str, Any]) -> list[str]:
    """What stands in a row's first cells."""
    return [value(key, setting) for key, setting in settings.items()] or ["all runs"]
