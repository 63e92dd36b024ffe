"""Notes of failed jobs; with launchers they are tested in `test_config.py`."""

import pytest

from esc_sr.launching import leave_note, take_notes


@pytest.mark.parametrize("hidden", [False, True])
def test_notes_come_in_the_order_of_jobs_and_tell_what_nobody_has_seen(
    tmp_path, monkeypatch, hidden
):
    monkeypatch.delenv("SUBMITIT_EXECUTOR", raising=False)
    if hidden:  # standard error is a file of submitit's
        monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    folder = tmp_path / ".failed"
    for job in (10, 9):
        leave_note(folder, job, f"job {job}", "first\nsecond")
    told = "first\nsecond" if hidden else ""
    assert take_notes(folder) == [("job 9", told), ("job 10", told)]
    assert not folder.exists()
