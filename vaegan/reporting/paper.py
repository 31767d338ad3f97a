"""What the paper printed (its Figures 10-13 list ten epochs, Tables 1-4 the first five of them).

"Test set loss" is reconstruction + KL of a test image in nats. "Average loss" is the training loss summed over a batch of
2000 images, averaged over the epoch's batches; the batch size is not stated but follows from the printed digits.
"""

from dataclasses import dataclass

BATCH_SIZE = 2000
NUM_PRINTED = 5  # epochs that the tables show


@dataclass(frozen=True)
class PaperTable:
    """One of the paper's tables: ten epochs, without and with BatchNorm."""

    number: int
    title: str
    denoising: bool
    metric: str  # the column of metrics.csv it is compared with
    scale: int  # what a value of that column is multiplied by to be in the paper's unit
    plain: tuple[float, ...]
    batch_norm: tuple[float, ...]

    @property
    def latent_dim(self) -> int:
        """The d that fits the clean tables (the paper does not state it), and the one it states for denoising."""
        return 100 if self.denoising else 50


TABLES = (
    PaperTable(
        1,
        "Comparison of test set loss",
        False,
        "test/loss",
        1,
        (230.3283, 180.3972, 157.0591, 142.4545, 134.2129, 128.9089, 126.7280, 124.5679, 122.2477, 119.8634),
        (147.8428, 125.5780, 114.9232, 107.7456, 103.7279, 101.1813, 99.6840, 98.5898, 98.2488, 97.3294),
    ),
    PaperTable(
        2,
        "Comparison of average loss",
        False,
        "train/loss",
        BATCH_SIZE,
        (
            *(469043.5302, 372118.0802, 334059.9198, 305111.0781, 286867.4531),
            *(274090.7313, 266304.3422, 261820.5401, 257664.6786, 253247.0557),
        ),
        (
            *(399735.6302, 296214.3292, 269985.8906, 253746.1599, 241967.3786),
            *(233630.7719, 227900.6109, 223998.0766, 221302.0115, 218911.9984),
        ),
    ),
    PaperTable(
        3,
        "Comparison of denoised data test set loss",
        True,
        "test/loss",
        1,
        (347.0229, 247.7857, 207.1779, 186.8587, 178.0751, 168.4420, 162.5893, 155.9546, 150.0192, 146.4455),
        (164.1581, 154.7473, 154.7070, 152.6874, 150.3859, 144.7938, 133.7135, 132.9777, 124.2333, 121.4781),
    ),
    PaperTable(
        4,
        "Comparison of denoised data average loss",
        True,
        "train/loss",
        BATCH_SIZE,
        (
            *(402239.5531, 379431.6458, 349705.4260, 328458.8552, 314208.3698),
            *(303869.9250, 296035.1833, 290033.7063, 284849.7438, 280185.8104),
        ),
        (
            *(373148.0833, 341214.8510, 324038.1042, 312138.6052, 303007.6510),
            *(295980.4438, 290391.4656, 285511.2729, 281577.5437, 278828.4031),
        ),
    ),
)
