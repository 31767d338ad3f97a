"""Whole or not at all."""

import pytest

from vaegan.files import replacing, write_whole


def test_content_and_what_a_killed_writer_left(tmp_path):
    write_whole(tmp_path / "a.txt", "text")
    (tmp_path / "a.txt.part").write_text("half")
    write_whole(tmp_path / "a.txt", b"bytes")
    assert (tmp_path / "a.txt").read_bytes() == b"bytes"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_failure_leaves_the_old_file_and_no_other(tmp_path):
    write_whole(tmp_path / "a.txt", "old")
    with pytest.raises(RuntimeError), replacing(tmp_path / "a.txt") as temporary:
        temporary.write_bytes(b"half of the n")
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"
