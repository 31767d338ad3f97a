"""Files written whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name to write instead of `path`: `path` appears complete and on disk when the block ends, or not at all.

    The name lies in the same folder, because a rename is atomic only within one file system. It is always the same one,
    so the next writer clears away what a killed one left; two processes must not write `path` at once.
    """
    temporary = path.with_name(f"{path.name}.part")
    temporary.unlink(missing_ok=True)
    try:
        yield temporary
        _sync(temporary)
        temporary.chmod(0o666 & ~_umask())  # some libraries write files that only their owner may read
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    if os.name == "posix":  # makes the rename itself survive a power cut; elsewhere a folder cannot be opened
        _sync(path.parent)


def write_whole(path: Path, content: bytes | str) -> None:
    """Write `content` to `path`, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(content.encode(errors="backslashreplace") if isinstance(content, str) else content)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
