import math

from esc_sr.reporting.logs import best_step, last, read_curves


def write(folder, version, text):
    path = folder / "csv" / f"version_{version}" / "metrics.csv"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return path


def test_steps_are_those_that_were_taken(tmp_path):
    write(tmp_path, 0, "epoch,step,train/loss,val/a/psnr_y\n0,9,0.5,\n0,9,,30.0\n0,19,0.25,\n")
    curves, problem = read_curves(tmp_path)
    assert curves == {"train/loss": {10: 0.5, 20: 0.25}, "val/a/psnr_y": {10: 30.0}}
    assert not problem


def test_a_resumed_run_goes_on_in_its_next_file_and_that_counts(tmp_path):
    write(tmp_path, 10, "step,x\n19,3.0\n29,4.0\n")
    write(tmp_path, 9, "step,x\n9,1.0\n19,2.0\n")
    assert read_curves(tmp_path)[0] == {"x": {10: 1.0, 20: 3.0, 30: 4.0}}


def test_torn_lines_and_texts_are_passed_over(tmp_path):
    write(tmp_path, 0, "step,x\n9,1.0,7,8\n,2.0\nten,3.0\n19,oops\n29,nan\n39\n-1,4\n49,5")
    points = read_curves(tmp_path)[0]["x"]
    assert {step: value for step, value in points.items() if step != 30} == {10: 1.0, 50: 5.0}
    assert math.isnan(points[30])


def test_what_cannot_be_read_is_told(tmp_path):
    assert read_curves(tmp_path) == ({}, "no CSV log")
    write(tmp_path, 0, "step,x\n9,1.0\n")
    (tmp_path / "csv" / "version_1").mkdir()  # of a session that was killed before its first lines
    assert read_curves(tmp_path) == ({"x": {10: 1.0}}, "")
    (tmp_path / "csv" / "version_1" / "metrics.csv").write_bytes(b"step,x\n\xff\xff,1\n")
    curves, problem = read_curves(tmp_path)
    assert curves == {"x": {10: 1.0}}
    assert problem.startswith("version_1/metrics.csv cannot be read: ")


def test_a_link_that_leads_out_of_the_run_is_not_followed(tmp_path):
    outside = tmp_path / "outside.csv"
    outside.write_text("step,x\n9,1.0\n")
    path = write(tmp_path / "run", 0, "")
    path.unlink()
    path.symlink_to(outside)
    curves, problem = read_curves(tmp_path / "run")
    assert curves == {}
    assert "outside the run" in problem


def test_the_best_and_the_last():
    points = {10: 1.0, 20: 3.0, 30: math.nan, 40: 3.0, 50: 2.0}
    assert (best_step(points, "max"), best_step(points, "min"), last(points)) == (20, 10, 2.0)
    assert best_step({10: math.nan}, "max") is None
    assert (best_step(None, "max"), last(None), last({})) == (None, None, None)
