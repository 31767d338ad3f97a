"""Files of tensors that carry their own SHA-256: torch and safetensors load most files with a flipped bit without a word.

A checkpoint is what torch.save writes, a zip file, with the digest of everything before it as the zip's comment. Weights
are a safetensors file with the digest in its header, of the whole file with zeros in the digest's place. Both stay
readable for torch.load and safetensors. Files of vaegan 0.1 have no digest and are read without.
"""

import errno
import hashlib
import json
import os
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from vaegan import __version__
from vaegan.errors import UserError
from vaegan.files import replacing

if TYPE_CHECKING:
    from torch import Tensor

_MARK = b"vaegan sha256 "
_DIGEST_BYTES = 64
_COMMENT_BYTES = len(_MARK) + _DIGEST_BYTES
_UNKNOWN = "0" * _DIGEST_BYTES
_LONGEST_HEADER = 100_000_000  # safetensors' own limit
_CHUNK = 2**22


class Damaged(UserError):
    """A file that is not what was written."""


def save_checkpoint(content: dict[str, Any], path: Path) -> None:
    """Write tensors and plain values to `path`, whole or not at all, and sealed. Raises OSError."""
    import torch

    with replacing(path) as temporary, temporary.open("wb") as file:
        sealing = _Sealing(file)
        try:
            torch.save(content | {"vaegan_version": __version__}, sealing)
        except RuntimeError:  # torch hides what the file said
            raise sealing.error or _no_space(temporary) from None
        sealing.close()


def load_checkpoint(path: Path, mmap: bool = False) -> dict[str, Any]:
    """What save_checkpoint wrote, on the CPU; nothing in it is executed. With `mmap` tensors are read only when used.

    Raises:
        Damaged: not one byte may differ from what was written.
        UserError: the file is of a later version, or does not exist.
    """
    import torch

    _check_exists(path)
    try:
        is_sealed = _check_checkpoint(path)
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
        version = content.get("vaegan_version")
        if not isinstance(content["state_dict"], dict):
            raise TypeError("state_dict")
    except UserError:
        raise
    except Exception as error:  # torch raises many kinds for a damaged file
        raise Damaged(f"{path} is not a readable checkpoint ({type(error).__name__}).") from error
    if version is not None and not is_sealed:
        raise Damaged(f"{path} is damaged: the SHA-256 at its end is missing.")
    _check_version(path, version)
    return content


def save_weights(state: "dict[str, Tensor]", path: Path) -> None:
    """Write a model's state to `path`, whole or not at all, and sealed. Raises OSError."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with replacing(path) as temporary:
        try:
            # One entry: safetensors writes several in an order of its own, another each time.
            save_file(state, temporary, metadata={"vaegan": f"{__version__} {_UNKNOWN}"})
        except SafetensorError:  # it hides what the system said
            raise _no_space(temporary) from None
        with temporary.open("r+b") as file:
            _, _, position = _weights_header(file)
            digest = _sha256(file, os.path.getsize(temporary))
            file.seek(position)
            file.write(digest.encode())


def load_weights(path: Path) -> "dict[str, Tensor]":
    """What save_weights wrote, on the CPU; raises as load_checkpoint does."""
    from safetensors.torch import load_file

    _check_exists(path)
    try:
        version = _check_weights(path)
        state = load_file(path)
    except UserError:
        raise
    except Exception as error:  # safetensors and torch raise many kinds for a damaged file
        raise Damaged(f"{path} is not a readable safetensors file ({type(error).__name__}).") from error
    _check_version(path, version)
    return state


class _Sealing:
    """A file for torch.save to write, hashed as it is written, that ends as a zip with the digest as its comment.

    A zip ends with the length of its comment, two bytes, which torch writes as 0. So the last two bytes are held back.
    """

    def __init__(self, file: IO[bytes]):
        self.file = file
        self.error: OSError | None = None
        self._sha256 = hashlib.sha256()
        self._held = b""

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        if len(view) < 2:
            self._held += bytes(view)
            self._emit(self._held[:-2])
            self._held = self._held[-2:]
        else:
            self._emit(self._held)
            self._emit(view[:-2])
            self._held = bytes(view[-2:])
        return len(view)

    def flush(self) -> None:
        self.file.flush()

    def close(self) -> None:
        self._emit(_COMMENT_BYTES.to_bytes(2, "little"))
        self.file.write(_MARK + self._sha256.hexdigest().encode())

    def _emit(self, data: bytes | memoryview) -> None:
        self._sha256.update(data)
        try:
            self.file.write(data)
        except OSError as error:
            self.error = error
            raise


def _check_checkpoint(path: Path) -> bool:
    """Has the file a digest? Raises Damaged if it has a wrong one."""
    length = path.stat().st_size - _DIGEST_BYTES
    with path.open("rb") as file:
        file.seek(max(0, length - len(_MARK)))
        mark, digest = file.read(len(_MARK)), file.read()
        if mark != _MARK:
            return False
        file.seek(0)
        if _sha256(file, length - len(_MARK)).encode() != digest:
            raise Damaged(f"{path} is damaged: its SHA-256 is not the one written at its end.")
    return True


def _check_weights(path: Path) -> str | None:
    """The version that wrote the file; None for vaegan 0.1. Raises Damaged if its digest is wrong."""
    with path.open("rb") as file:
        version, digest, position = _weights_header(file)
        if version is not None and _sha256(file, path.stat().st_size, blank=position) != digest:
            raise Damaged(f"{path} is damaged: its SHA-256 is not the one in its header.")
    return version


def _weights_header(file: IO[bytes]) -> tuple[str | None, str, int]:
    """The version, the digest and where that stands in a safetensors file; (None, "", 0) in one of vaegan 0.1."""
    length = int.from_bytes(file.read(8), "little")
    if length > _LONGEST_HEADER:
        raise ValueError("too long a header")
    header = file.read(length)
    file.seek(0)
    metadata = json.loads(header).get("__metadata__")
    if metadata is None:
        return None, "", 0
    version, digest = metadata["vaegan"].split(" ")
    return version, digest, 8 + header.index(digest.encode())


def _sha256(file: IO[bytes], num_bytes: int, blank: int | None = None) -> str:
    """Of the next `num_bytes` of `file`, with zeros for the digest at `blank`."""
    sha256 = hashlib.sha256()
    if blank is not None:
        sha256.update(file.read(blank) + _UNKNOWN.encode())
        file.seek(_DIGEST_BYTES, os.SEEK_CUR)
        num_bytes -= blank + _DIGEST_BYTES
    while num_bytes > 0 and (chunk := file.read(min(_CHUNK, num_bytes))):
        sha256.update(chunk)
        num_bytes -= len(chunk)
    return sha256.hexdigest()


def _check_version(path: Path, version: object) -> None:
    def minor(text: str) -> tuple[int, ...]:
        return tuple(map(int, text.split(".")[:2]))

    try:
        is_later = version is not None and minor(str(version)) > minor(__version__)
    except ValueError as error:
        raise Damaged(f"{path} is not of vaegan: it says version {version!r}.") from error
    if is_later:
        raise UserError(
            f"{path} was written by vaegan {version}, and this is {__version__}; install that version or a later one."
        )


def _check_exists(path: Path) -> None:
    if not path.is_file():
        raise UserError(f"{path} does not exist; the run has not finished or kept no such file.")


def _no_space(path: Path) -> OSError:
    return OSError(errno.ENOSPC, "it could not be written, perhaps no space is left", str(path))
