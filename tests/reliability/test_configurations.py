"""Configurations made at random from the options themselves: a bad one is refused in a sentence, a good one trains.

What is generated follows the names, types and ranges of config.py, so that a new option is tried without a word here; a new
rule between options needs an entry in COMBINATIONS.
"""

import inspect
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import numpy as np
import pytest
import yaml
from conftest import make_config, make_plan
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from vaegan import cli, config, load_run
from vaegan.data import sources
from vaegan.train import job, train

KINDS = [get_args(config.get_type_hints(member)["kind"])[0] for member in get_args(config.Objective)]
# {dotted name: (type, field)} of what the default configuration has: objective=vaegan knows every objective's options.
OPTIONS = {name: (hint, field) for name, hint, field in config._walk(config.Config, "")}
OPTIONS["objective.kind"] = (Literal[tuple(KINDS)], OPTIONS["objective.kind"][1])
GROUPS = sorted({name.rpartition(".")[0] for name in OPTIONS} - {""})  # with optimizer.vae, which is inside a group
FILES = [group for group in GROUPS if "." not in group]  # those that conf/ has a folder of


def generated(max_examples: int) -> settings:
    """As many examples as asked for, the same ones every time, kept nowhere."""
    return settings(
        max_examples=max_examples,
        phases=[Phase.generate],
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


@dataclass(frozen=True)
class Mistake:
    """A configuration to be refused."""

    key: str  # what the sentence must name
    values: dict[str, Any] = field(default_factory=dict)  # {dotted name: value}, typed or written into a file
    typed: tuple[str, ...] = ()  # what only a command line can say
    in_file: bool = False

    def arguments(self, own: Path) -> list[str]:
        """The command line, after the experiment file that it needs was written below `own`."""
        if not self.in_file:
            return [*self.typed, *(f"{name}={as_typed(value)}" for name, value in self.values.items())]
        file = own / "experiment" / "mine.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        tree: dict[Any, Any] = {}
        for name, value in self.values.items():
            *groups, last = name.split(".")
            branch = tree
            for group in groups:
                branch = branch.setdefault(group, {})
            branch[last] = value
        file.write_text("# @package _global_\n" + yaml.safe_dump(tree, allow_unicode=True, sort_keys=False))
        return ["--config-dir", str(own), "+experiment=mine", *self.typed]


def as_typed(value: Any) -> str:
    """`value` as Hydra reads it back from a command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return "'" + value.replace("'", "\\'") + "'"
    if isinstance(value, list):
        return "[" + ",".join(map(as_typed, value)) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{as_typed(item)}" for key, item in value.items()) + "}"
    return repr(value)


pytestmark = pytest.mark.timeout(1800)  # for the long form

# --- values ----------------------------------------------------------------------------------------------------------

names = st.from_regex(r"[a-z_][a-z0-9_]{0,11}", fullmatch=True).filter(
    lambda name: name not in ("null", "true", "false")
)
texts = st.text("abxyz019 .,:#-äßΩ'\"[]{}\n", max_size=12)
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts)
anything = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    texts,
    st.lists(scalars, max_size=3),
    st.dictionaries(names, scalars, min_size=1, max_size=2),
)


def fits(hint: Any, value: Any) -> bool:
    """Is `value` of the type `hint`, whatever its range?"""
    if get_origin(hint) is Literal:
        return value in get_args(hint) if isinstance(value, str) else False
    if get_origin(hint) is tuple:
        members = get_args(hint)
        return isinstance(value, list) and len(value) == len(members) and all(map(fits, members, value))
    if get_args(hint):
        return any(fits(member, value) for member in get_args(hint))
    if hint is str:
        return isinstance(value, str) and value != ""
    return type(value) in {float: (int, float)}.get(hint, (hint,))


def number(hint: Any) -> type | None:
    """int or float, if the option is one, may be one, or is a list of them."""
    members = {hint, *get_args(hint)}
    return next((kind for kind in (int, float) if kind in members), None)


@st.composite
def outside(draw: st.DrawFn, hint: Any, field: Any) -> Any:
    """A value of the right type just or far outside of the option's range, or beyond what a number may be."""
    kind = number(hint)
    too_large = [2**63, -(2**63), 10**400]
    choices = [
        st.sampled_from(too_large if kind is int else [*too_large[2:], 1e300, -1e300, math.inf, -math.inf, math.nan])
    ]
    for sign, bound in field.metadata["range"].items():
        if bound is None:
            continue
        down = sign in (">=", ">")
        if sign in (">", "<"):
            choices.append(st.just(kind(bound)))
        if kind is int:
            choices.append(st.just(bound - 1 if down else bound + 1))
            choices.append(st.integers(max_value=bound - 1) if down else st.integers(min_value=bound + 1))
        else:
            choices.append(st.just(math.nextafter(bound, -math.inf if down else math.inf)))
            edge = {"max_value": bound, "exclude_max": True} if down else {"min_value": bound, "exclude_min": True}
            choices.append(st.floats(**edge, allow_nan=False))
    value = draw(st.one_of(choices))
    return draw(st.permutations([value, 0.5])) if get_origin(hint) is tuple else value


def mistyped(name: str) -> st.SearchStrategy[str]:
    """`name` with a letter lost, doubled, changed or two exchanged; or something else altogether."""

    def at(place: int) -> list[str]:
        before, letter, after = name[:place], name[place], name[place + 1 :]
        return [
            before + after,
            before + 2 * letter + after,
            f"{before}q{after}",
            before + after[:1] + letter + after[1:],
        ]

    near = [word for place in range(len(name)) for word in at(place) if re.fullmatch(r"[A-Za-z_]\w*", word)]
    return st.one_of(st.sampled_from(near), names)


# --- kinds of mistakes -----------------------------------------------------------------------------------------------


@st.composite
def unknown_key(draw: st.DrawFn) -> Mistake:
    """A part of an option's name is mistyped, or there is something below an option."""
    parts = draw(st.sampled_from(sorted(OPTIONS))).split(".")
    value, in_file = draw(scalars), draw(st.booleans())
    place = draw(st.integers(0, len(parts)))
    sign = "" if in_file else draw(st.sampled_from(["", "+", "++"]))
    if place == len(parts):
        return Mistake(".".join(parts), {sign + ".".join([*parts, draw(names)]): value}, in_file=in_file)
    wrong = draw(mistyped(parts[place]))
    if in_file:
        wrong = draw(st.one_of(st.just(wrong), st.text("abxyz_-ÄßΩ019 ", min_size=1).map(str.strip).filter(bool)))
    known = {tuple(name.split(".")[: place + 1]) for name in [*OPTIONS, "experiment", "sweep", "hydra", "defaults"]}
    assume((*parts[:place], wrong) not in known)
    key = ".".join([*parts[:place], wrong])
    return Mistake(key, {sign + ".".join([key, *parts[place + 1 :]]): value}, in_file=in_file)


@st.composite
def missing_value(draw: st.DrawFn) -> Mistake:
    how = draw(st.sampled_from(["~", "???", "null", "null group", "~group"]))
    group = draw(st.sampled_from(GROUPS))
    if how in ("~", "???"):
        name = draw(st.sampled_from(sorted(OPTIONS)))
        return Mistake(name, typed=(f"~{name}" if how == "~" else f"{name}=???",))
    if how == "null":
        name = draw(st.sampled_from(sorted(name for name, (hint, _) in OPTIONS.items() if not fits(hint, None))))
        return Mistake(name, {name: None}, in_file=draw(st.booleans()))
    return Mistake(group, {group: None}, in_file=True) if how == "null group" else Mistake(group, typed=(f"~{group}",))


@st.composite
def wrong_type(draw: st.DrawFn) -> Mistake:
    name = draw(st.sampled_from(sorted(OPTIONS)))
    hint, _ = OPTIONS[name]
    if get_origin(hint) is tuple and draw(st.booleans()):  # right but for one entry
        value = draw(st.permutations([draw(anything.filter(lambda value: not fits(float, value))), 0.5]))
    else:
        value = draw(anything.filter(lambda value: not fits(hint, value)))
    return Mistake(name, {name: value}, in_file=draw(st.booleans()))


@st.composite
def out_of_range(draw: st.DrawFn) -> Mistake:
    name = draw(st.sampled_from(sorted(name for name, (hint, _) in OPTIONS.items() if number(hint))))
    return Mistake(name, {name: draw(outside(*OPTIONS[name]))}, in_file=draw(st.booleans()))


@st.composite
def wrong_word(draw: st.DrawFn) -> Mistake:
    name = draw(st.sampled_from(sorted(name for name, (hint, _) in OPTIONS.items() if get_origin(hint) is Literal)))
    words = get_args(OPTIONS[name][0])
    word = draw(mistyped(draw(st.sampled_from([word for word in words if word.isidentifier()] or [name]))))
    assume(word not in words)
    return Mistake(name, {name: word}, in_file=draw(st.booleans()))


@st.composite
def no_group(draw: st.DrawFn) -> Mistake:
    """Something else where a group of options belongs."""
    group = draw(st.sampled_from(GROUPS))
    in_file = draw(st.booleans())
    if in_file or "." in group:
        value = draw(anything.filter(lambda value: value is not None and not isinstance(value, dict)))
        return Mistake(group, {group: value}, in_file=in_file)
    value = draw(st.one_of(st.none(), st.integers(), st.booleans(), st.lists(names, min_size=1, max_size=2), names))
    assume(not (cli.CONF / group / f"{value}.yaml").exists())
    return Mistake(group, typed=(f"{group}={value if isinstance(value, str) else as_typed(value)}",))


@st.composite
def misused_command_line(draw: st.DrawFn) -> Mistake:
    """What Hydra's grammar does not know, or means otherwise."""
    name = draw(st.sampled_from(sorted(OPTIONS)))
    there = draw(st.sampled_from(["data.noise_std", "model.latent_dim", "objective.beta", "trainer.devices", "seed"]))
    return draw(
        st.sampled_from(
            [
                Mistake(name, typed=(name,)),
                Mistake(name, typed=(f"{name}=[1",)),
                Mistake(name, typed=(f"{name}={{a:",)),
                Mistake(name, typed=(f"{name}='",)),
                Mistake(name, typed=(f"{name}=1,2,3",)),
                Mistake(name, typed=(f"{name}=range(1,4)",)),
                Mistake(name, typed=(f"{name}=${{nowhere}}",)),
                Mistake(name, {name: "${nowhere.at_all}"}, in_file=True),
                Mistake(name, {name: "${oc.env:NOT_THERE}"}, in_file=True),
                Mistake(name, {name: f"${{{name}}}"}, in_file=True),
                Mistake(there, typed=(f"+{there}=1",)),
                Mistake(there, typed=(f"~{there}=77",)),
                Mistake("seed", typed=(f"seed={'9' * 5000}",)),
                Mistake("experiment", typed=(f"+experiment={draw(names)}",)),
                Mistake("experiment", typed=("experiment=vaegan",)),
                Mistake("train.resume", {"train.resume": f"{draw(names)}/nowhere"}, in_file=draw(st.booleans())),
                Mistake("data.root", {"data.root": "~nobody_of_this_name/data"}, ("data=digits",)),
                Mistake("data.root", {"data.root": "a\0b"}, in_file=True),
            ]
        )
    )


def _devices(draw: st.DrawFn) -> Mistake:
    """So many that they cannot share the default batch."""
    number = draw(st.integers(2, 2**63 - 1).filter(lambda number: BATCH_SIZE % number))
    return Mistake("trainer.devices", {"trainer.devices": number})


def _compile(draw: st.DrawFn) -> Mistake:
    number = draw(st.sampled_from([number for number in range(2, BATCH_SIZE + 1) if BATCH_SIZE % number == 0]))
    return Mistake("train.compile", {"train.compile": True, "trainer.devices": number})


def _num_images(draw: st.DrawFn) -> Mistake:
    data, available = draw(st.sampled_from(sorted(config.NUM_TRAIN_IMAGES.items())))
    number = draw(st.integers(available + 1, 2**63 - 1))
    return Mistake("data.num_images", {"data.num_images": number}, (f"data={data}",))


def _own_root(draw: st.DrawFn) -> Mistake:
    return Mistake("data.root", {"data.num_images": draw(st.integers(2000, 2**63 - 1))}, ("data=own",))


def _own_num_images(draw: st.DrawFn) -> Mistake:
    return Mistake("data.num_images", {"data.root": draw(names)}, ("data=own",))


def _num_val(draw: st.DrawFn) -> Mistake:
    data, available = draw(st.sampled_from(sorted(config.NUM_TRAIN_IMAGES.items())))
    return Mistake("data.num_val", {"data.num_val": draw(st.integers(available, 2**63 - 1))}, (f"data={data}",))


def _batch_size(draw: st.DrawFn) -> Mistake:
    data, available = draw(st.sampled_from(sorted(config.NUM_TRAIN_IMAGES.items())))
    num_val = draw(st.integers(0, available - 1))
    batch_size = draw(st.integers(max(2, available - num_val + 1), 2**63 - 1))
    return Mistake("data.batch_size", {"data.num_val": num_val, "data.batch_size": batch_size}, (f"data={data}",))


def _metrics(draw: st.DrawFn) -> Mistake:
    name = "logger.metrics_every_n_epochs"
    return Mistake(name, {name: draw(st.integers(1, 9)), "logger.tensorboard": False})


def _gan_noise(draw: st.DrawFn) -> Mistake:
    noise_std = draw(st.floats(0, 10, exclude_min=True))
    return Mistake("data.noise_std", {"data.noise_std": noise_std}, ("objective=gan",))


def _gan_batch_norm(draw: st.DrawFn) -> Mistake:
    return Mistake("model.batch_norm_output", {"model.batch_norm_output": True}, ("objective=gan",))


BATCH_SIZE = make_config().data.batch_size
# Those of config._check_combinations.
COMBINATIONS = [
    *(_own_root, _own_num_images, _num_images, _num_val, _batch_size),
    *(_devices, _compile, _metrics, _gan_noise, _gan_batch_norm),
]


def _other_objective(draw: st.DrawFn) -> Mistake:
    """An option that only other objectives have."""
    kind, own = draw(st.sampled_from(sorted({"autoencoder": (), "vae": ("beta",), "gan": ()}.items())))
    name = draw(
        st.sampled_from([f"objective.{name}" for name in ("beta", "adversarial_weight", "fakes") if name not in own])
    )
    sign = draw(st.sampled_from(["", "+", "++"]))
    return Mistake(name, typed=(f"objective={kind}", f"{sign}{name}={'prior' if name.endswith('fakes') else 1}"))


def _kind_alone(draw: st.DrawFn) -> Mistake:
    """Another objective's name over this one's options."""
    return Mistake("objective", {"objective.kind": draw(st.sampled_from([kind for kind in KINDS if kind != "vaegan"]))})


def _memory(draw: st.DrawFn) -> Mistake:
    hidden_dim = draw(st.integers(10**9, 10**10))
    return Mistake(
        "model.hidden_dim", {"model.hidden_dim": hidden_dim, "model.latent_dim": draw(st.integers(10**4, 10**5))}
    )


def _accelerator(draw: st.DrawFn) -> Mistake:
    return Mistake("trainer.accelerator", {"trainer.accelerator": "gpu" if sys.platform == "darwin" else "mps"})


@st.composite
def contradiction(draw: st.DrawFn) -> Mistake:
    """Each option is right, but not together, or not on this machine."""
    rules = [*COMBINATIONS, _other_objective, _kind_alone, _memory, _accelerator]
    found = draw(st.sampled_from(rules))(draw)
    return Mistake(found.key, found.values, found.typed, in_file=bool(found.values) and draw(st.booleans()))


mistakes = st.one_of(
    unknown_key(),
    missing_value(),
    wrong_type(),
    out_of_range(),
    wrong_word(),
    no_group(),
    misused_command_line(),
    contradiction(),
    contradiction(),
)

# --- trials ----------------------------------------------------------------------------------------------------------


def test_every_rule_between_options_is_tried():
    assert inspect.getsource(config._check_combinations).count("raise UserError") == len(COMBINATIONS)


@dataclass
class Command:
    """`python -m vaegan.train`, called in this process in an empty folder; reading any data is noticed."""

    folder: Path
    own: Path
    root: Path
    read: Callable[[], tuple[str, str]]
    loaded: list[str] = field(default_factory=list)

    def __call__(self, arguments: list[str]) -> tuple[int | None, str]:
        """Exit code and stderr; None, if it crashed."""
        self.loaded.clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            patch.setattr(sys, "argv", ["vaegan.train", *arguments])
            patch.setenv("HYDRA_FULL_ERROR", "0")  # put back afterwards: the command sets it
            patch.setattr(sources, "load", self._load)
            try:
                cli.run_command(job, "config")
            except SystemExit as end:
                return end.code, self.read()[1]
            except Exception as crash:
                return None, f"{self.read()[1]}{type(crash).__name__}: {crash}"

    def _load(self, name: str, root: Path | None) -> None:
        self.loaded.append(name)
        raise AssertionError("data is read")

    def left_behind(self) -> list[Path]:
        return [*self.folder.iterdir(), *self.root.iterdir()]


@pytest.fixture
def command(tmp_path, monkeypatch, capsys) -> Command:
    folders = [tmp_path / name for name in ("here", "own", "data")]
    for folder in folders:
        folder.mkdir()
    folders[2].chmod(0o500)
    monkeypatch.setenv("VAEGAN_DATA", str(folders[2]))
    return Command(*folders, capsys.readouterr)


def names_key(stderr: str, key: str) -> bool:
    """Is it one line that names `key` as a word of its own?"""
    one_line = stderr.startswith("vaegan: ") and len(stderr.splitlines()) == 1 and "Traceback" not in stderr
    return one_line and re.search(rf"(?<![\w.]){re.escape(key)}(?!\w)", stderr.removeprefix("vaegan: ")) is not None


def steady(stderr: str) -> str:
    """Without the free memory that a sentence may tell, which is never the same."""
    return re.sub(r"[\d.]+ GB are free", "", stderr)


def test_a_bad_configuration_is_refused_in_a_sentence_that_names_the_key(command, scenario, trials):
    number, in_processes = trials(40, 500), trials(2, 5)
    with scenario("9 Bad configurations: exit code 2, one sentence naming the key, no data touched") as tried:

        @generated(4 * number)  # some come more than once, and are tried once
        @given(mistakes)
        def attempt(mistake: Mistake) -> None:
            if repr(mistake) in seen or tried.trials == number:
                return
            seen.add(repr(mistake))
            arguments = mistake.arguments(command.own)
            code, stderr = command(arguments)
            right = code == 2 and names_key(stderr, mistake.key) and not command.loaded and not command.left_behind()
            tried.trial(right, f"{mistake} ended with {code}: {stderr[:500]}")
            if tried.trials % (number // in_processes) == 0:
                line = [sys.executable, "-m", "vaegan.train", *arguments]
                done = subprocess.run(line, cwd=command.folder, capture_output=True, text=True, env=environment)
                alone = (done.returncode, steady(done.stderr), command.left_behind())
                compared.append((mistake, alone, (code, steady(stderr), [])))

        seen: set[str] = set()
        compared: list[tuple[Mistake, tuple, tuple]] = []
        environment = os.environ | {"PYTHONPATH": str(Path(cli.__file__).parents[1])}  # this vaegan, wherever it starts
        attempt()
        assert (tried.trials, len(compared)) == (number, in_processes)
        assert [mistake for mistake, alone, here in compared if alone != here] == []


# --- good ones -------------------------------------------------------------------------------------------------------

# Where the whole range is too large for a test, or would rightly end in a loss that is not finite.
SMALL = {
    "model.latent_dim": st.integers(1, 6),
    "model.hidden_dim": st.none() | st.integers(1, 32),
    "model.dropout": st.floats(0, 0.95),
    "optimizer.vae.lr": st.floats(1e-5, 1e-2),
    "optimizer.discriminator.lr": st.floats(1e-5, 1e-2),
    "data.noise_std": st.just(0.0) | st.floats(0, 3),
    "data.num_val": st.sampled_from([0, 1]) | st.integers(0, 1490),
    "data.num_images": st.none() | st.integers(1492, 1500),
    "logger.tensorboard": st.sampled_from([True, *[False] * 7]),
    "train.resume": st.none(),
    "train.compile": st.just(False),  # half a minute each: tests/training/test_compiled.py
    "trainer.max_steps": st.just(1),
    "trainer.accelerator": st.just("cpu"),
    "trainer.devices": st.just(1),
    "data.name": st.just("digits"),
    "data.root": st.sampled_from([None, "~/data"]),
}


def valid(hint: Any, field: Any) -> st.SearchStrategy:
    """Any value of the option's type and range: small numbers, and for whole ones also the largest."""
    if get_origin(hint) is Literal:
        return st.sampled_from(get_args(hint))
    if get_origin(hint) is tuple:
        return st.tuples(*(valid(member, field) for member in get_args(hint))).map(list)
    if get_args(hint):
        return st.one_of(valid(member, field) for member in get_args(hint))
    if hint in (NoneType, bool):
        return st.none() if hint is NoneType else st.booleans()
    bounds = field.metadata["range"]
    if hint is int:
        low = bounds[">="] or 0
        high = bounds["<="]
        return st.integers(low, low + 5 if high is None else high) | st.just(2**63 - 1 if high is None else high)
    low = bounds[">="] if bounds[">"] is None else bounds[">"]
    high = next((bounds[sign] for sign in ("<", "<=") if bounds[sign] is not None), low + 10)
    return st.floats(low, high, exclude_min=bounds[">"] is not None, exclude_max=bounds["<"] is not None)


@st.composite
def good(draw: st.DrawFn, labels: np.ndarray, metrics: bool) -> list[str]:
    """The command line of a run on digits, whose training labels are `labels`, that is in order."""
    kind = draw(st.sampled_from(KINDS))
    member = next(
        member for member in get_args(config.Objective) if kind in get_args(config.get_type_hints(member)["kind"])
    )
    own = [f"objective.{name}" for name in member.__dataclass_fields__]
    values = {
        name: draw(SMALL[name] if name in SMALL else valid(hint, field))
        for name, (hint, field) in OPTIONS.items()
        if (not name.startswith("objective.") or name in own) and name not in ("objective.kind", "data.batch_size")
    }
    if kind == "gan":
        values |= {"data.noise_std": 0.0, "model.batch_norm_output": False}
    if not (values["logger.tensorboard"] and metrics):
        values["logger.metrics_every_n_epochs"] = None
    known = labels != (-1 if values["data.held_out_class"] is None else values["data.held_out_class"])
    known = known[: values["data.num_images"]]
    num_train = len(known) - values["data.num_val"]
    assume(known[num_train:].any() or not values["data.num_val"])
    most = int(known[:num_train].sum())
    assume(most >= 2)
    values["data.batch_size"] = draw(st.integers(2, most) | st.sampled_from([2, most]))
    return ["data=digits", f"objective={kind}", *(f"{name}={as_typed(value)}" for name, value in values.items())]


def test_a_good_configuration_trains_on_digits(scenario, trials, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("VAEGAN_DATA", str(tmp_path / "home" / "data"))
    number = trials(4, 200)
    # Measuring while training needs a network that is trained first, for half a minute, and kept below data.root.
    runs = good(sources.load("digits", None).train_labels, metrics=trials(False, True))
    with scenario("9 Good configurations on digits: all train one step") as tried:

        @generated(number)
        @given(runs)
        def attempt(overrides: list[str]) -> None:
            plan = make_plan(tmp_path / str(tried.trials), *overrides)
            try:
                train(plan)
                rows = plan.folder.read_metrics()
                load_run(plan.folder.path)
                right = plan.folder.state == "finished" and [row["step"] for row in rows] == [1]
                tried.trial(right, f"{overrides} ended {plan.folder.state} with {rows}")
            except Exception as error:
                tried.trial(False, f"{overrides}: {type(error).__name__}: {error}")

        attempt()
        assert tried.trials == number
