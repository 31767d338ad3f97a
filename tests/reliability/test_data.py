"""Damaged, missing and swapped files, downloads that stop, processes that are killed or fetch at once: every one is noticed.

On real MNIST where it lies in the default root already, and on the small data set of small_data.py, which has SHA-256s of
its own. The network is never used.
"""

import dataclasses
import gzip
import hashlib
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from small_data import NAMES, Mirror, Small, fetchers, files_under

from vaegan.data import sources
from vaegan.data.sources import IdxFile, load
from vaegan.errors import UserError

DAMAGED = "10 Data: damaged, truncated, missing and swapped files are detected"
STOPPED = "10 Data: downloads that stop half way"
AT_ONCE = "10 Data: two processes fetch at once"


@pytest.fixture
def rng() -> random.Random:
    return random.Random(0)


@pytest.fixture(params=["small", "real"])
def root(request, small, tmp_path, monkeypatch) -> Path:
    """A root with the four right files of mnist: of the small set, or links to the real ones."""
    if request.param == "small":
        small.put(*NAMES)
        return small.root
    right = sources.default_root() / "MNIST" / "raw"
    if not all((right / name).is_file() for name in NAMES):
        pytest.skip(f"no MNIST in {right}")
    monkeypatch.setitem(sources.FILES, "mnist", REAL)
    folder = tmp_path / "real" / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name in NAMES:
        (folder / name).symlink_to(right / name)
    return tmp_path / "real"


REAL = sources.FILES["mnist"]  # before any fixture replaces them


def refusal(root: Path, name: str = "mnist") -> str:
    """What `load` says against the files under `root`; empty if it takes them."""
    try:
        load(name, root)
    except UserError as error:
        return str(error)
    return ""


def is_refused_and_left(path: Path, content: bytes, root: Path, capsys, name: str = "mnist") -> bool:
    """Is `content` in the place of `path` refused by name, left as it is, and nothing fetched? The right file comes back."""
    right = path.with_name(f"{path.name}.right")
    path.rename(right)
    path.write_bytes(content)
    files = files_under(root)
    try:
        message = refusal(root, name)
        left = path.read_bytes() == content and files_under(root) == files
    finally:
        right.replace(path)
    return message.startswith(f"{path} ") and left and capsys.readouterr().err == ""


def flip(content: bytes, position: int, bit: int) -> bytes:
    changed = bytearray(content)
    changed[position] ^= 1 << bit
    return bytes(changed)


def test_a_flipped_bit_anywhere_is_detected(root, scenario, trials, rng, capsys):
    folder = root / "MNIST" / "raw"
    with scenario(DAMAGED) as t:
        for number in range(trials(8, 480)):
            path = folder / NAMES[number % 4]
            content = path.read_bytes()
            position, bit = rng.randrange(len(content)), rng.randrange(8)
            wrong = flip(content, position, bit)
            t.trial(is_refused_and_left(path, wrong, root, capsys), f"bit {bit} of byte {position} of {path}")


def test_a_flipped_bit_in_a_header_is_detected(root, scenario, trials, rng, capsys):
    folder = root / "MNIST" / "raw"
    places = [(name, position) for name in NAMES for position in range(16 if "images" in name else 8)]
    with scenario(DAMAGED) as t:
        for name, position in rng.sample(places, trials(4, len(places))):
            wrong = flip((folder / name).read_bytes(), position, rng.randrange(8))
            t.trial(is_refused_and_left(folder / name, wrong, root, capsys), f"byte {position} of the header of {name}")


def test_a_file_cut_short_or_grown_is_detected(root, scenario, trials, rng, capsys):
    folder = root / "MNIST" / "raw"
    with scenario(DAMAGED) as t:
        for name in NAMES:
            content = (folder / name).read_bytes()
            size = len(content)
            lengths = [0, size - 1, 3, 4, 8, 16, *(rng.randrange(size) for _ in range(6))][: trials(2, 12)]
            tails = [b"\0", b"\n", rng.randbytes(100), content][: trials(1, 4)]
            for wrong in [*(content[:length] for length in lengths), *(content + tail for tail in tails)]:
                t.trial(
                    is_refused_and_left(folder / name, wrong, root, capsys), f"{name} with {len(wrong)} of {size} bytes"
                )


def test_each_file_in_the_place_of_each_other_is_detected(root, scenario, capsys):
    folder = root / "MNIST" / "raw"
    with scenario(DAMAGED) as t:
        for name in NAMES:
            for other in NAMES:
                if other != name:
                    wrong = (folder / other).read_bytes()
                    t.trial(is_refused_and_left(folder / name, wrong, root, capsys), f"{other} as {name}")


def test_a_missing_file_and_a_folder_in_its_place_are_named(root, scenario, trials):
    folder = root / "MNIST" / "raw"
    with scenario(DAMAGED) as t:
        for name in NAMES[: trials(1, 4)]:
            aside = root / name
            (folder / name).rename(aside)
            message = refusal(root)
            t.trial("not complete" in message and str(folder / name) in message, f"{name} is missing")
            t.trial(files_under(folder) == set(NAMES) - {name}, f"{name} is missing: files came to be")
            (folder / name).mkdir()
            t.trial(refusal(root).startswith(f"{folder / name} cannot be read ("), f"{name} is a folder")
            (folder / name).rmdir()
            aside.rename(folder / name)
        t.trial(refusal(root) == "", "the right files are refused")


@pytest.mark.parametrize("kept_packed", [False, True], ids=["mnist", "kmnist"])
def test_damaged_gz_files_are_never_used(kept_packed, small, scenario, trials, rng, capsys, monkeypatch):
    """Of kmnist the packed bytes are known. Of mnist the unpacked ones: a bit of gzip's own header may be another."""
    files = tuple(
        IdxFile(name, len(idx), hashlib.sha256(small.gz[name] if kept_packed else idx).hexdigest(), kept_packed)
        for name, idx in small.idx.items()
    )
    monkeypatch.setitem(sources.FILES, "mnist", files)
    small.folder.mkdir(parents=True)
    for name in NAMES:
        (small.folder / f"{name}.gz").write_bytes(small.gz[name])

    def passes(path: Path, wrong: bytes) -> bool:
        if kept_packed or gzip_content(wrong) != small.idx[path.stem]:
            return is_refused_and_left(path, wrong, small.root, capsys)
        right = path.read_bytes()
        path.write_bytes(wrong)
        loaded = small.is_loaded_as(load("mnist", small.root))
        path.write_bytes(right)
        return loaded

    with scenario(DAMAGED) as t:
        for name in NAMES:
            path, right = small.folder / f"{name}.gz", small.gz[name]
            others = [small.gz[other] for other in NAMES if other != name]
            wrongs = [b"", right[:-1], right + b"\0", right + right, right + rng.randbytes(9), small.idx[name], *others]
            wrongs += [flip(right, position, rng.randrange(8)) for position in range(10)]  # gzip's header
            for _ in range(trials(10, 100)):
                wrongs.append(flip(right, rng.randrange(len(right)), rng.randrange(8)))
                wrongs.append(right[: rng.randrange(len(right))])
            for wrong in wrongs:
                t.trial(passes(path, wrong), f"{name}.gz with {len(wrong)} bytes of {wrong[:16]!r}...")


def gzip_content(packed: bytes) -> bytes | None:
    try:
        return gzip.decompress(packed)
    except Exception:
        return None


# Downloads


def holds_only_whole_files(small: Small, folder: Path) -> bool:
    """Is nothing in `folder` but files of the data set, each of them right?"""
    return all(name in NAMES and (folder / name).read_bytes() == small.idx[name] for name in files_under(folder))


def cut(mirror: Mirror, path: str, rng: random.Random) -> None:
    mirror.stops_after[path] = rng.randrange(len(mirror.content[path]))


def cut_without_length(mirror: Mirror, path: str, rng: random.Random) -> None:
    mirror.announces_length = False
    cut(mirror, path, rng)


def broken_connection(mirror: Mirror, path: str, rng: random.Random) -> None:
    mirror.resets = True
    cut(mirror, path, rng)


def garbage(mirror: Mirror, path: str, rng: random.Random) -> None:
    mirror.content[path] = rng.randbytes(rng.randrange(40_000))


def garbage_packed(mirror: Mirror, path: str, rng: random.Random) -> None:
    mirror.content[path] = gzip.compress(rng.randbytes(rng.randrange(40_000)))


def another_file(mirror: Mirror, path: str, rng: random.Random) -> None:
    mirror.content[path] = mirror.content[rng.choice([other for other in mirror.content if other != path])]


def flipped_on_the_way(mirror: Mirror, path: str, rng: random.Random) -> None:
    packed = mirror.content[path]
    position = rng.randrange(10, len(packed))  # behind gzip's header, whose time stamp, for one, is of no matter
    mirror.content[path] = flip(packed, position, rng.randrange(8))


def stall(mirror: Mirror, path: str, rng: random.Random) -> None:
    mirror.stalls_halfway.add(path)


FAULTS = [cut, cut_without_length, broken_connection, garbage, garbage_packed, another_file, flipped_on_the_way, stall]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_download_that_fails_leaves_whole_files_alone(fault, small, mirrors, scenario, trials, rng, monkeypatch):
    monkeypatch.setattr(sources, "HTTP_TIMEOUT_SEC", 0.3)
    mirror = mirrors[0]
    with scenario(STOPPED) as t:
        for number in range(trials(2, 8 if fault is stall else 60)):
            root = small.root / str(number)
            folder = root / "FashionMNIST" / "raw"
            mirror.serve(small.gz)
            name = rng.choice(NAMES)
            fault(mirror, f"{name}.gz", rng)
            message = refusal(root, "fashion_mnist")
            what = f"{fault.__name__} {number} of {name}: {message}"
            t.trial(mirror.url in message and str(folder / name) in message, what)
            t.trial(holds_only_whole_files(small, folder) and name not in files_under(folder), what)
            mirror.serve(small.gz)
            mirror.stops_after.clear()
            mirror.stalls_halfway.clear()
            mirror.announces_length, mirror.resets = True, False
            t.trial(small.is_loaded_as(load("fashion_mnist", root)) and files_under(folder) == set(NAMES), what)


# Processes of their own


def digest(arrays) -> str:
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


@pytest.fixture
def serve_real(mirrors, monkeypatch) -> Callable[[], str]:
    """Has the mirror serve real MNIST, if it is here; the digest of its arrays."""

    def serve() -> str:
        right = sources.default_root() / "MNIST" / "raw"
        if not all((right / name).is_file() for name in NAMES):
            pytest.skip(f"no MNIST in {right}")
        monkeypatch.setitem(sources.FILES, "mnist", REAL)
        mirrors[0].serve({name: gzip.compress((right / name).read_bytes(), 1) for name in NAMES})
        return digest(dataclasses.astuple(load("mnist", None)))

    return serve


@pytest.mark.parametrize("size", ["small", "real"])
def test_a_process_killed_while_it_fetches_leaves_nothing_that_is_used(
    size, small, mirrors, serve_real, scenario, trials, rng, tmp_path
):
    number = trials(2 if size == "small" else 0, 30)
    if not number:
        pytest.skip("real MNIST is for the long form")
    if size == "small":
        mirrors[0].serve(small.gz)
        expected = digest(small.arrays)
    else:
        expected = serve_real()
    mirrors[0].delay_sec = 0.02
    [whole] = fetchers(1, tmp_path / "whole", mirrors[0])
    start = time.monotonic()
    whole.communicate(timeout=60)
    seconds = time.monotonic() - start
    halves = 0
    with scenario(STOPPED) as t:
        for trial in range(number):
            root = tmp_path / str(trial)
            folder = root / "MNIST" / "raw"
            [process] = fetchers(1, root, mirrors[0])
            if trial % 2:  # while a file is being written
                path = folder / f"{rng.choice(NAMES)}.part"
                deadline = time.monotonic() + 3 * seconds
                while not path.exists() and process.poll() is None and time.monotonic() < deadline:
                    pass
                if size == "real":
                    time.sleep(rng.uniform(0, 0.05))
            else:
                time.sleep(rng.uniform(0, seconds))
            process.kill()
            process.communicate()
            left = files_under(folder) if folder.exists() else set()
            halves += any(name.endswith(".part") for name in left)
            sizes = {file.name: file.num_bytes for file in sources.FILES["mnist"]}
            whole_files = all((folder / name).stat().st_size == sizes[name] for name in left if name in sizes)
            t.trial(whole_files, f"trial {trial}: a file under its own name is not whole")
            loaded = digest(dataclasses.astuple(load("mnist", root)))
            t.trial(loaded == expected, f"trial {trial}: other bytes were used")
            t.trial(files_under(root) == AFTER_A_FETCH, f"trial {trial}: {files_under(root)} remain")
            shutil.rmtree(root)
        t.note(f"{halves} of {number} kills left a half-written file ({size})")


AFTER_A_FETCH = {".MNIST.lock", *(f"MNIST/raw/{name}" for name in NAMES)}


@pytest.mark.parametrize("number", [2, 4])
def test_processes_at_once_share_one_fetch(number, small, mirrors, scenario, trials, tmp_path):
    mirrors[0].serve(small.gz)
    mirrors[0].delay_sec = 0.05
    with scenario(AT_ONCE) as t:
        for trial in range(trials(1, 20)):
            mirrors[0].asked.clear()
            root = tmp_path / str(trial)
            outputs = [process.communicate(timeout=60) for process in fetchers(number, root, mirrors[0])]
            what = f"{number} processes, trial {trial}: {outputs}"
            t.trial([stdout.strip() for stdout, _ in outputs] == [digest(small.arrays)] * number, what)
            t.trial(sorted(mirrors[0].asked) == sorted(f"{name}.gz" for name in NAMES), f"{what}, {mirrors[0].asked}")
            t.trial(files_under(root) == AFTER_A_FETCH, what)


def test_when_one_of_four_processes_is_killed_the_others_go_on(small, mirrors, scenario, trials, rng, tmp_path):
    mirrors[0].serve(small.gz)
    mirrors[0].delay_sec = 0.05
    with scenario(AT_ONCE) as t:
        for trial in range(trials(1, 20)):
            root = tmp_path / str(trial)
            processes = fetchers(4, root, mirrors[0])
            time.sleep(rng.uniform(0, 0.3))
            fetching = mirrors[0].asked and rng.choice(processes)
            if fetching:
                fetching.kill()
            outputs = [process.communicate(timeout=60) for process in processes]
            others = [
                out
                for process, (out, _) in zip(processes, outputs, strict=True)
                if not fetching or process is not fetching
            ]
            t.trial({out.strip() for out in others} == {digest(small.arrays)}, f"trial {trial}: {outputs}")
            t.trial(files_under(root) == AFTER_A_FETCH, f"trial {trial}: {files_under(root)}")


@pytest.mark.parametrize("number", [2])
def test_processes_that_fetch_real_mnist_at_once_share_one_fetch(
    number, mirrors, small, serve_real, scenario, trials, tmp_path
):
    if not trials(0, 1):
        pytest.skip("real MNIST is for the long form")
    expected = serve_real()
    with scenario(AT_ONCE) as t:
        for trial in range(trials(0, 5)):
            mirrors[0].asked.clear()
            root = tmp_path / str(trial)
            outputs = [process.communicate(timeout=100) for process in fetchers(number, root, mirrors[0])]
            t.trial([out.strip() for out, _ in outputs] == [expected] * number, f"trial {trial}: {outputs}")
            t.trial(len(mirrors[0].asked) == 4 and files_under(root) == AFTER_A_FETCH, f"trial {trial}")
            shutil.rmtree(root)
