import json

import pytest

from esc_sr.errors import InputError
from esc_sr.runs.finding import find_finished, run_folders
from esc_sr.runs.record import FINISHED, RUNNING, RunRecord, read_record, write_record


def record(**changes):
    values = {
        "state": FINISHED,
        "config": {"seed": 3, "lr": 0.1},
        "config_hash": "abc",
        "sessions": [{"wall_s": 1.5, "step": 4}, {"wall_s": 2.0, "step": 8}],
        "results": {"Set5": {"images": ["a", "b"], "psnr_y": [30.0, float("inf")]}},
    }
    return RunRecord(**(values | changes))


def test_a_record_comes_back(tmp_path):
    write_record(record(), tmp_path)
    back = read_record(tmp_path)
    assert back == record(results={"Set5": {"images": ["a", "b"], "psnr_y": [30.0, "inf"]}})
    assert (back.seed, back.step, back.wall_s) == (3, 8, 3.5)
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_time_that_nobody_measured_is_not_told():
    killed = record(sessions=[{"wall_s": None, "step": None}, {"wall_s": 2.0, "step": 8}])
    assert killed.wall_s is None
    assert record(sessions=[]).wall_s is None


def test_the_commit_is_the_codes_before_the_working_folders():
    git = [{"of": "working_dir", "commit": "1"}, {"of": "esc_sr", "commit": "2"}]
    assert record(sessions=[{"git": git}]).repository["commit"] == "2"
    assert record(sessions=[{"git": git[:1]}]).repository["commit"] == "1"
    assert record(sessions=[{"git": []}]).repository == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"state": "done"}, "'state' must be one of running, finished"),
        ({"config": []}, "'config' must be an object"),
        ({"sessions": [{"step": "x"}]}, "'sessions' must be"),
        ({"sessions": [{"git": [1]}]}, "'sessions' must be"),
        ({"results": {"Set5": {"images": ["a"], "psnr_y": [1, 2]}}}, "'results' must be"),
        ({"results": {"Set5": {"images": ["a"], "psnr_y": ["x"]}}}, "'results' must be"),
        ({"results": {"Set5": {"psnr_y": [1]}}}, "'results' must be"),
        ({"overrides": "seed=1"}, "'overrides' must be"),
        ({"params_k": "many"}, "'params_k' must be"),
        ({"format": 9}, "is of format 9, this version reads 1"),
    ],
)
def test_a_damaged_record_is_one_line(tmp_path, change, message):
    write_record(record(), tmp_path)
    content = json.loads((tmp_path / "run.json").read_text()) | change
    (tmp_path / "run.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=message) as caught:
        read_record(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, "null", '{"format": 1}', "\x00"])
def test_what_is_no_record_is_one_line(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(InputError, match="damaged") as caught:
        read_record(tmp_path)
    assert len(str(caught.value)) < 200 + len(str(tmp_path))


def test_runs_are_found_at_any_depth_in_the_order_of_their_numbers(tmp_path):
    for name in ("10", "9", "a/b", "9/within", ".hidden/x"):
        write_record(record(), tmp_path / name)
    found = [str(path.relative_to(tmp_path)) for path in run_folders(tmp_path)]
    assert found == ["9", "10", "a/b"]
    assert list(run_folders(tmp_path / "9")) == [tmp_path / "9"]


def test_only_a_finished_run_of_the_same_hash_counts(tmp_path):
    write_record(record(state=RUNNING), tmp_path / "0")
    write_record(record(config_hash="other"), tmp_path / "1")
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "run.json").write_text("{")
    assert find_finished("abc", [tmp_path / "nowhere", tmp_path]) is None
    write_record(record(), tmp_path / "3")
    folder, found = find_finished("abc", [tmp_path])
    assert (folder, found.config_hash) == (tmp_path / "3", "abc")
