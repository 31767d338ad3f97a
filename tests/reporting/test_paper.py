"""The paper's numbers against its own arithmetic."""

import pytest

from vaegan.reporting.paper import TABLES


def test_the_tables_are_the_four_of_the_paper():
    assert [table.number for table in TABLES] == [1, 2, 3, 4]
    assert all(len(column) == 10 for table in TABLES for column in (table.plain, table.batch_norm))
    assert TABLES[0].plain[:5] == (230.3283, 180.3972, 157.0591, 142.4545, 134.2129)
    assert TABLES[3].batch_norm[-1] == 278828.4031


@pytest.mark.parametrize("table", [TABLES[1], TABLES[3]], ids=["clean", "denoised"])
def test_average_losses_are_float32_sums_over_30_batches(table):
    """The mean of 30 losses that are each a multiple of 1/32 (from 2^18 up) or 1/64, as float32 holds them."""
    for value in (*table.plain, *table.batch_norm):
        total = value * 30 * 64
        assert abs(total - round(total)) < 0.15, value


def test_losses_fall_in_every_column_as_printed():
    for table in TABLES:
        for column in (table.plain, table.batch_norm):
            assert list(column) == sorted(column, reverse=True)
