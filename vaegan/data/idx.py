"""The IDX file format of MNIST and its relatives, for unsigned bytes.

A file is the magic number 00 00 08 D (08: unsigned byte, D: the number of dimensions), D sizes as big-endian 32-bit
integers, and the values in C order.
"""

import math
import struct

import numpy as np

from vaegan.errors import UserError

_UINT8 = 0x08


def read_idx(data: bytes | bytearray | memoryview | np.ndarray, name: str) -> np.ndarray:
    """The uint8 array in the bytes of an IDX file: (N,) for labels, (N, 28, 28) for images.

    The array is a view of `data`, and so read-only where `data` is. Raises UserError, naming the file `name`, unless
    the header is that of unsigned bytes and exactly as many values follow as it announces.
    """
    data = memoryview(data).cast("B")
    magic = bytes(data[:4])
    if len(magic) < 4 or magic[:3] != bytes([0, 0, _UINT8]) or magic[3] == 0:
        raise UserError(
            f"{name} is not an IDX file of unsigned bytes: it begins with {magic.hex(' ') or 'nothing'}, where "
            "00 00 08 and the number of dimensions are expected; put the right file there."
        )
    num_dimensions = magic[3]
    header_bytes = 4 + 4 * num_dimensions
    if len(data) < header_bytes:
        raise UserError(
            f"{name} ends inside its IDX header: {num_dimensions} dimensions take {header_bytes} bytes, and it has "
            f"{len(data)}; put the whole file there."
        )
    shape = struct.unpack_from(f">{num_dimensions}I", data, 4)
    expected_bytes = header_bytes + math.prod(shape)
    if len(data) != expected_bytes:
        raise UserError(
            f"{name} has {len(data)} bytes, where its IDX header announces {expected_bytes} (dimensions "
            f"{' x '.join(map(str, shape))}); put the whole file there."
        )
    values = np.frombuffer(data, np.uint8)[header_bytes:]
    try:
        return values.reshape(shape)
    except ValueError as error:  # more dimensions than numpy has, or sizes that overflow beside a size of 0
        raise UserError(
            f"{name} announces dimensions that no array can have ({error}); put the right file there."
        ) from error


def write_idx(array: np.ndarray) -> bytes:
    """The bytes of the IDX file that holds a uint8 array of one dimension or more. Raises ValueError for any other."""
    if array.dtype != np.uint8 or array.ndim == 0:
        raise ValueError(
            f"an IDX file here holds a uint8 array of 1 dimension or more, not {array.dtype} of {array.ndim}"
        )
    header = bytes([0, 0, _UINT8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()
