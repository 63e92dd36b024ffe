import os
import stat

import pytest

from esc_sr.errors import InputError
from esc_sr.files import remove_unfinished, replacing, write_atomically


def test_the_longest_names_are_written(tmp_path):
    for name in ("a" * 251 + ".txt", "ä" * 125 + ".txt", "." + "b" * 254):
        write_atomically(tmp_path / name, "text")
        assert (tmp_path / name).read_text() == "text"
    assert len(list(tmp_path.iterdir())) == 3


def test_what_a_kill_leaves_of_a_long_name_is_found_and_removed(tmp_path):
    with replacing(tmp_path / ("a" * 251 + ".txt")) as temporary:
        temporary.write_text("half")
        left = temporary.read_bytes()
    temporary.write_bytes(left)
    (tmp_path / ("a" * 251 + ".txt")).unlink()
    kept = {"kept.txt", ".notes.20240101.txt", ".backup.20250101", ".a.deadbeef.txt"}
    for name in kept:
        (tmp_path / name).touch()
    remove_unfinished(tmp_path)
    assert {one.name for one in tmp_path.iterdir()} == kept


@pytest.mark.skipif(os.name == "nt", reason="pipes as files")
@pytest.mark.parametrize("linked", [False, True])
def test_devices_and_pipes_are_not_replaced(tmp_path, linked):
    """As root `os.replace` makes a file of /dev/null."""
    path = pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    if linked:
        path = tmp_path / "link"
        path.symlink_to(pipe)
    with pytest.raises(InputError, match=f"{path.name} is no ordinary file"):
        write_atomically(path, "text")
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert path.is_symlink() == linked
