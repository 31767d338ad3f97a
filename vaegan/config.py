"""Every option of a run: name, type, range, unit, meaning. The values live in conf/*.yaml, once.

`check` turns what Hydra composed, or what a run folder's config.yaml holds, into a frozen `Config`; below the commands
nobody sees anything else. This module imports neither torch nor Hydra, so a mistake is answered at once.
`python -m vaegan.config` prints the options.
"""

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from vaegan.errors import UserError

NUM_TRAIN_IMAGES = {"mnist": 60_000, "fashion_mnist": 60_000, "kmnist": 60_000, "digits": 1_500}


def is_changeable(name: str) -> bool:
    """May a resumed run change the option? Where and how long it runs, yes; what makes it the run it is, no."""
    return name == "data.root" or name.partition(".")[0] in ("trainer", "train", "logger")


def identity(config: "Config") -> dict[str, Any]:
    """What makes a run the run it is, flat: all options but those that say where it runs and what is logged of it.

    Two jobs of a sweep with the same identity are the same job. An option that is younger than some runs counts only where
    it departs from what it was before.
    """
    elsewhere = () if config.data.name == "own" else ("data.root",)  # own files are other images in another folder
    elsewhere += ("trainer.accelerator", "trainer.devices")
    elsewhere += ("train.resume", "train.checkpoint", "train.minutes_between_checkpoints")
    elsewhere += ("train.low_memory", "train.compile")
    before = {name: field.default for name, _, field in _walk(Config, "") if field.default is not dataclasses.MISSING}
    return {
        name: value
        for name, value in flatten(to_dict(config)).items()
        if name not in elsewhere and not name.startswith("logger.") and (name not in before or value != before[name])
    }


def option(
    meaning: str,
    *,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    before: Any = dataclasses.MISSING,
) -> Any:
    """One option's meaning and range; its name and type are those of the dataclass field it is assigned to.

    `before` is what runs did that are older than the option: their config.yaml lacks it.
    """
    range_ = {">=": ge, ">": gt, "<=": le, "<": lt}
    return dataclasses.field(default=before, metadata={"meaning": meaning, "range": range_})


@dataclass(frozen=True)
class Data:
    name: Literal["mnist", "fashion_mnist", "kmnist", "digits", "own"] = option(
        "data set; digits needs no download; own: the IDX files in data.root, read from there as training goes on"
    )
    root: str | None = option("folder of the data files; null: $VAEGAN_DATA, else a per-user cache; own files need it")
    batch_size: int = option("images a training step; the incomplete last batch of an epoch is left out", ge=2)
    num_val: int = option("training images held out from the end for validation", ge=0)
    noise_std: float = option("sigma of the Gaussian noise on the input, on the pixels' [0, 1] scale", ge=0)
    noise_clip: bool = option("clip the noisy input to [0, 1]")
    num_images: int | None = option(
        "training images used, from the first; null: all of a known data set; own files need it", ge=1, before=None
    )
    held_out_class: int | None = option(
        "class left out of training and validation, to be recognised as new by evaluate", ge=0, le=9, before=None
    )

    @property
    def num_train(self) -> int:
        """Images left to train on, before a held-out class is taken away."""
        return (self.num_images or NUM_TRAIN_IMAGES[self.name]) - self.num_val


@dataclass(frozen=True)
class Model:
    latent_dim: int = option("d, the size of the latent code", ge=1, le=10**5)
    hidden_dim: int | None = option("hidden units of encoder and decoder; null: latent_dim squared", ge=1, le=10**10)
    batch_norm: bool = option("BatchNorm on the hidden layer of all three networks")
    batch_norm_output: bool = option("BatchNorm also on the encoder's output, as the paper's Figure 7 prints it")
    dropout: float = option("probability of dropping a hidden unit, all three networks", ge=0, lt=1)

    def __post_init__(self) -> None:
        if self.hidden_dim is None:
            object.__setattr__(self, "hidden_dim", self.latent_dim**2)


@dataclass(frozen=True)
class Autoencoder:
    """Reconstruction alone: z = mu, no KL, no adversary (paper, 2.1)."""

    kind: Literal["autoencoder"] = option("reconstruction alone, z = mu")
    fakes = None

    @property
    def weights(self) -> dict[str, float]:
        """The terms of losses.py that the first optimizer minimises, with their weights."""
        return {"reconstruction": 1.0}


@dataclass(frozen=True)
class VAE:
    """Reconstruction + beta KL (paper, 2.2)."""

    kind: Literal["vae"] = option("reconstruction + KL")
    beta: float = option("weight of the KL term; both terms in nats per image", ge=0)
    fakes = None

    @property
    def weights(self) -> dict[str, float]:
        return {"reconstruction": 1.0, "kl": self.beta}


@dataclass(frozen=True)
class GAN:
    """Decoder against discriminator on prior draws; no encoder (paper, 2.3)."""

    kind: Literal["gan"] = option("decoder against discriminator on prior draws, no encoder")
    fakes = "prior"

    @property
    def weights(self) -> dict[str, float]:
        return {"adversarial": 1.0}


@dataclass(frozen=True)
class VAEGAN:
    """Reconstruction + beta KL + adversarial_weight times the generator's term (paper, 3)."""

    kind: Literal["vaegan"] = option("VAE + the generator's term")
    beta: float = option("weight of the KL term; both terms in nats per image", ge=0)
    adversarial_weight: float = option("weight of the generator's BCE(D(fake), 1), in nats per image", ge=0)
    fakes: Literal["prior", "reconstruction", "both"] = option("what the discriminator sees as fake")

    @property
    def weights(self) -> dict[str, float]:
        return {"reconstruction": 1.0, "kl": self.beta, "adversarial": self.adversarial_weight}


Objective = Autoencoder | VAE | GAN | VAEGAN


@dataclass(frozen=True)
class Adam:
    lr: float = option("learning rate", gt=0)
    betas: tuple[float, float] = option("decay rates of the two moments", ge=0, lt=1)
    weight_decay: float = option("L2 penalty added to the gradient", ge=0)


@dataclass(frozen=True)
class Optimizer:
    vae: Adam = option("Adam of encoder + decoder")
    discriminator: Adam = option("Adam of the discriminator")
    schedule: Literal["none", "step", "cosine", "plateau"] = option("learning-rate schedule of both, by epochs")
    step_size: int = option("step: epochs between two decays", ge=1)
    gamma: float = option("step and plateau: factor of a decay", gt=0, lt=1)
    patience: int = option("plateau: epochs without a better validation (else training) loss", ge=0)


@dataclass(frozen=True)
class Trainer:
    max_epochs: int = option("epochs", ge=1)
    max_steps: int | None = option("batches after which training stops, if that comes first", ge=1)
    accelerator: Literal["auto", "cpu", "gpu", "mps"] = option("where to compute")
    devices: int = option("number of devices that share each batch", ge=1)
    precision: Literal["auto", "32-true", "bf16-mixed"] = option(
        "of the matrix products, losses are always float32; auto: bf16-mixed on a device where it is measured to be faster"
    )
    deterministic: bool = option(
        "only algorithms that give the same bits each time, which a GPU is slower with", before=False
    )


@dataclass(frozen=True)
class Train:
    resume: str | None = option("run folder to go on with")
    matmul: Literal["auto", "highest", "high", "medium"] = option(
        "torch's float32 matmul precision; auto: highest, or medium on a CPU that is not Intel's and keeps float32 accuracy so"
    )
    checkpoint: Literal["last", "previous", "best"] = option(
        "which of its checkpoints to go on from; previous: the one before the last", before="last"
    )
    minutes_between_checkpoints: float = option(
        "longest time between two checkpoints; there is one after every epoch, too", gt=0, before=10.0
    )
    low_memory: bool | None = option(
        "move each weight of encoder and decoder as soon as its gradient is known, which is then freed, and on a CPU give "
        "freed memory back to the system; null: the former from 100 million parameters on, the latter where memory is short; a "
        "compiled step has all its gradients together",
        before=None,
    )
    compile: bool = option(
        "compile the step, which takes half a minute at first and makes later steps faster; a CPU needs a C++ compiler for it",
        before=False,
    )


@dataclass(frozen=True)
class Logger:
    tensorboard: bool = option("write TensorBoard curves, images and histograms")
    images_every_n_epochs: int = option("epochs between two image grids", ge=1)
    metrics_every_n_epochs: int | None = option(
        "epochs between two measurements of active units, a linear probe and the classifier score, for TensorBoard; null: none",
        ge=1,
        before=None,
    )


@dataclass(frozen=True)
class Config:
    """One run, checked."""

    seed: int = option("of everything random: weights, order, noise, draws", ge=0, le=2**32 - 1)
    data: Data = option("data set and corruption")
    model: Model = option("networks")
    objective: Objective = option("what is minimised")
    optimizer: Optimizer = option("two Adam optimizers")
    trainer: Trainer = option("how long, where, in which precision")
    train: Train = option("this command's own options")
    logger: Logger = option("what is written beside metrics.csv")


def check(raw: Mapping[str, Any]) -> Config:
    """The configuration `raw` (plain nested values) as a frozen Config.

    Raises:
        UserError: an unknown or missing key, a wrong type, a value out of range, or values that contradict each other;
            the message names the key, what was expected, and the nearest right name.
    """
    config = read(Config, raw)
    _check_combinations(config)
    return config


def read(kind: type, raw: Mapping[str, Any]) -> Any:
    """`raw` as the dataclass of options `kind`, each value of its type and in its range; raises as `check` does."""
    return _read(kind, raw, "", kind)


def to_dict(config: Config) -> dict[str, Any]:
    """Plain nested values, as config.yaml holds them; `check(to_dict(c)) == c`."""
    return plain(config)


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"data": {"name": "mnist"}} as {"data.name": "mnist"}."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def nearest(name: str, candidates: typing.Iterable[str]) -> str | None:
    """The candidate that a mistyped `name` most likely meant.

    Candidates of the same group are compared by their last part; a last part that fits exactly counts in any group.
    """
    candidates = list(candidates)
    group, _, last = name.rpartition(".")
    by_last = {candidate.rpartition(".")[2]: candidate for candidate in reversed(candidates)}
    if last in by_last:
        return by_last[last]
    in_group = {
        candidate.rpartition(".")[2]: candidate for candidate in candidates if candidate.rpartition(".")[0] == group
    }
    choices = in_group or {candidate: candidate for candidate in candidates}
    match = difflib.get_close_matches(last if in_group else name, choices, n=1, cutoff=0.6)
    return choices[match[0]] if match else None


def unknown_option(name: str, kind: type = Config) -> str:
    """The sentence that answers an option that the command with the options `kind` does not know."""
    names = option_names(kind)
    if name in names:
        return f"{name} is not an option of the chosen {name.partition('.')[0]}; choose another one or leave it out."
    if name in ("experiment", "sweep"):
        return f"a file of {name}s must begin with the line `# @package _global_`, which says where its options belong."
    groups = [field.name for field in dataclasses.fields(kind)]
    match = nearest(name, [*names, *groups])
    return f"{name} is not an option; " + (
        f"did you mean {match}?" if match else "`python -m vaegan.config` lists all."
    )


def option_names(kind: type = Config) -> list[str]:
    """Every dotted option name, those of all objectives included."""
    return list(dict.fromkeys(name for name, _, _ in _walk(kind, "")))


def _check_combinations(config: Config) -> None:
    data, objective = config.data, config.objective
    if data.name == "own" and data.root is None:
        raise UserError("data.root is null, but data=own trains on files of your own; give the folder they are in.")
    if data.name == "own" and data.num_images is None:
        raise UserError(
            "data.num_images is null, but data=own needs it, because no file is opened before the options are checked; give the "
            "number of your training images, or fewer."
        )
    if data.num_images is not None and data.num_images > NUM_TRAIN_IMAGES.get(data.name, data.num_images):
        raise UserError(
            f"data.num_images is {data.num_images}, but {data.name} has only {NUM_TRAIN_IMAGES[data.name]} training images; "
            f"choose at most that, or null for all."
        )
    if data.num_train <= 0:
        used = "" if data.num_images is None else " used"
        raise UserError(
            f"data.num_val is {data.num_val}, but {data.name} has only {data.num_train + data.num_val} training images{used} "
            f"in all."
        )
    if data.batch_size > data.num_train:
        raise UserError(
            f"data.batch_size is {data.batch_size}, but {data.name} leaves {data.num_train} training images; choose "
            f"at most that."
        )
    if data.batch_size % config.trainer.devices:
        raise UserError(
            f"data.batch_size is {data.batch_size}, which trainer.devices={config.trainer.devices} cannot share evenly; choose "
            f"a multiple of it."
        )
    if config.train.compile and config.trainer.devices > 1:
        raise UserError(
            f"train.compile=true compiles the step of one device, but trainer.devices is {config.trainer.devices}; choose one of "
            f"the two."
        )
    if config.logger.metrics_every_n_epochs and not config.logger.tensorboard:
        raise UserError(
            "logger.metrics_every_n_epochs writes to TensorBoard; set logger.tensorboard=true, or leave it null."
        )
    if objective.kind == "gan" and data.noise_std > 0:
        raise UserError(
            f"data.noise_std is {data.noise_std}, but objective=gan has no encoder to feed a noisy input; leave it 0."
        )
    if objective.kind == "gan" and config.model.batch_norm_output:
        raise UserError("model.batch_norm_output is true, but objective=gan has no encoder; leave it false.")


def _read(kind: Any, value: Any, path: str, root: type) -> Any:
    """`value` as an instance of the dataclass or union of dataclasses `kind`; `path` is its dotted name below `root`."""
    if not isinstance(value, Mapping):
        raise UserError(f"{path.rstrip('.') or 'the configuration'} must be a group of options, not {_shown(value)}.")
    if get_origin(kind) in (Union, types.UnionType):
        kind = _pick_kind(kind, value, path)
    hints = get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for key in value:
        if key not in fields:
            raise UserError(unknown_option(f"{path}{key}", root))
    values = {}
    for key, field in fields.items():
        name = f"{path}{key}"
        if key not in value and field.default is not dataclasses.MISSING:
            continue
        if key not in value:
            raise UserError(f"{name} is missing; give it a value ({_expected(hints[key], field)}).")
        if _is_group(hints[key]):
            values[key] = _read(hints[key], value[key], f"{name}.", root)
        else:
            values[key] = _value(hints[key], field, value[key], name)
    return kind(**values)


def _pick_kind(union: Any, value: Mapping[str, Any], path: str) -> Any:
    kinds = {get_args(get_type_hints(member)["kind"])[0]: member for member in get_args(union)}
    given = value.get("kind")
    if not isinstance(given, str) or given not in kinds:
        raise UserError(f"{path}kind must be one of {', '.join(kinds)}, not {_shown(given)}.")
    return kinds[given]


def _value(hint: Any, field: dataclasses.Field, value: Any, name: str) -> Any:
    accepted = _accept(hint, value)
    if accepted is _REFUSED or not all(_in_range(field, number) for number in _numbers(accepted)):
        suffix = ""
        choices = _choices(hint)
        for given in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(given, str) and given not in choices and (match := nearest(given, choices)):
                suffix = f"; did you mean {match}?"
        raise UserError(f"{name} must be {_expected(hint, field)}, not {_shown(value)}{suffix or '.'}")
    return accepted


def _shown(value: Any) -> str:
    """`value` as a sentence quotes it: the beginning of what is long."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no number of more than 4,300 digits
        return "a number of thousands of digits"
    return text if len(text) <= 200 else f"{text[:200]}..."


def _choices(hint: Any) -> tuple[str, ...]:
    """The words that a Literal, or each entry of a list of them, may be."""
    if get_origin(hint) is tuple:
        return _choices(get_args(hint)[0])
    return get_args(hint) if get_origin(hint) is Literal else ()


_REFUSED = object()
_LARGEST = 1e300  # leaves room to compute with
_LARGEST_WHOLE = 2**63  # torch and files hold no more


def _accept(hint: Any, value: Any) -> Any:
    """`value` as type `hint`, or _REFUSED. Only lossless conversions: 2 for a float, a list for a tuple."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        results = (_accept(member, value) for member in args)
        return next((result for result in results if result is not _REFUSED), _REFUSED)
    if hint is type(None):
        return None if value is None else _REFUSED
    if origin is Literal:
        return value if isinstance(value, str) and value in args else _REFUSED
    if origin is tuple:
        if args[-1] is Ellipsis:
            value = value if isinstance(value, (list, tuple)) else [value]
            args = args[:1] * len(value)
        if not isinstance(value, (list, tuple)) or len(value) != len(args) or not value:
            return _REFUSED
        items = tuple(_accept(member, item) for member, item in zip(args, value, strict=True))
        return _REFUSED if any(item is _REFUSED for item in items) else items
    if isinstance(value, bool) and hint is not bool:
        return _REFUSED
    if hint is float and isinstance(value, (int, float)):
        return float(value) if abs(value) < _LARGEST else _REFUSED  # false for NaN
    if hint is str:
        return value if isinstance(value, str) and value and "\0" not in value else _REFUSED  # a path has no NUL
    if hint is int and isinstance(value, int):
        return value if abs(value) < _LARGEST_WHOLE else _REFUSED
    return value if isinstance(value, hint) else _REFUSED


def _numbers(value: Any) -> Iterator[float]:
    for item in value if isinstance(value, tuple) else (value,):
        if isinstance(item, (int, float)) and not isinstance(item, bool):
            yield item


_HOLDS = {
    ">=": lambda value, bound: value >= bound,
    ">": lambda value, bound: value > bound,
    "<=": lambda value, bound: value <= bound,
    "<": lambda value, bound: value < bound,
}


def _in_range(field: dataclasses.Field, value: float) -> bool:
    return all(bound is None or _HOLDS[sign](value, bound) for sign, bound in field.metadata["range"].items())


def _is_group(hint: Any) -> bool:
    return dataclasses.is_dataclass(hint) or any(dataclasses.is_dataclass(member) for member in get_args(hint))


_TYPE_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", type(None): "null"}


def _type_name(hint: Any) -> str:
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return args[0] if len(args) == 1 else f"one of {', '.join(args)}"
    if origin is tuple:
        return f"a list, each {_type_name(args[0])}" if args[-1] is Ellipsis else f"a list of {len(args)} numbers"
    if origin in (Union, types.UnionType):
        return " or ".join(_type_name(member) for member in sorted(args, key=lambda member: member is not type(None)))
    return _TYPE_NAMES[hint]


def _expected(hint: Any, field: dataclasses.Field) -> str:
    """ "a number >= 0 and < 1": type and range in words."""
    if _is_group(hint):
        return "a group of options"
    bounds = [f"{sign} {bound}" for sign, bound in field.metadata["range"].items() if bound is not None]
    return _type_name(hint) + (f" {' and '.join(bounds)}" if bounds else "")


def plain(value: Any) -> Any:
    """Dataclasses and tuples as dictionaries and lists, as YAML and JSON know them."""
    if dataclasses.is_dataclass(value):
        return plain(dataclasses.asdict(value))
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _walk(kind: Any, path: str) -> Iterator[tuple[str, Any, dataclasses.Field]]:
    """(dotted name, type, field) of every option under the dataclass `kind`."""
    hints = get_type_hints(kind)
    for field in dataclasses.fields(kind):
        hint = hints[field.name]
        members = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
        groups = [member for member in members if dataclasses.is_dataclass(member)]
        for group in groups:
            yield from _walk(group, f"{path}{field.name}.")
        if not groups:
            yield f"{path}{field.name}", hint, field


def describe(kind: type = Config) -> str:
    """A table of all options: name, type and range, meaning."""
    rows: dict[tuple[str, str], str] = {}
    for name, hint, field in _walk(kind, ""):
        rows.setdefault((name, _expected(hint, field)), field.metadata["meaning"])
    widths = [max(len(key[column]) for key in rows) for column in (0, 1)]
    return "\n".join(f"{name:<{widths[0]}}  {kind:<{widths[1]}}  {meaning}" for (name, kind), meaning in rows.items())


if __name__ == "__main__":
    print(describe())
