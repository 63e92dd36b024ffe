"""The report command, in this process and as a user calls it."""

import csv
import os

import pytest

from esc_sr.config import compose_config
from esc_sr.errors import InputError
from esc_sr.tasks import report, train
from esc_sr.tasks.report import positional_runs
from tiny import TRAINING

FILES = {"report.html", "report.md", "report.csv", "report.tex"}
COSTS = ("latency", "memory", "macs")
PICTURES = {f"pareto_{cost}.{suffix}" for cost in COSTS for suffix in ("svg", "png")}


def run(*overrides):
    return report.run(compose_config("report", list(map(str, overrides))))


@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
def test_what_training_leaves_is_reported(tmp_path):
    """The only test with real runs: the record, the log and the pictures are those of training."""
    tiny = [*TRAINING, "trainer.max_steps=4", "trainer.log_every_n_steps=1"]
    scores = []
    for seed in range(2):
        overrides = [*tiny, f"seed={seed}", f"paths.output_dir={tmp_path / 'runs' / str(seed)}"]
        result = train.run(compose_config("train", overrides))
        scores.append(result.table[1].sets["sample"].means()["psnr_y"])
    table = run(f"runs=[{tmp_path / 'runs'}]", f"output_dir={tmp_path / 'out'}", "baseline='0'")
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES | PICTURES
    with (tmp_path / "out" / "report.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [float(line["sample/psnr_y"]) for line in lines] == pytest.approx(scores)
    assert table.keys == ("seed",)  # no command line: found by the configurations
    assert float(lines[1]["sample/psnr_y_diff"]) == pytest.approx(scores[1] - scores[0])
    for key in ("latency_ms", "memory_mib", "params_k", "macs_g", "wall_s"):
        assert float(lines[0][key]) > 0
    assert (lines[0]["steps"], lines[0]["scale"]) == ("4", "2")
    assert (tmp_path / "out" / "report.html").read_text().count("image/png") == 3 * (3 + 2)


def test_without_a_folder_it_prints_and_writes_nothing(tmp_path, make_run, monkeypatch, capsys):
    make_run(tmp_path / "a")
    monkeypatch.chdir(tmp_path)
    run("runs=[a]")
    assert "31.000" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_the_same_runs_give_the_same_bytes(tmp_path, make_run):
    for seed in range(2):
        make_run(tmp_path / "runs" / str(seed), seed=seed)
    for name in ("one", "two"):
        run(f"runs=[{tmp_path / 'runs'}]", f"output_dir={tmp_path / name}", "baseline='0'")
    for name in FILES | PICTURES:
        one, two = ((tmp_path / folder / name).read_bytes() for folder in ("one", "two"))
        assert one == two, name


def test_folders_on_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkdir("a=1")
    assert positional_runs(["x", "a=1", "sort=seed", "it's"]) == [
        r"runs=['x','a=1','it\'s']",
        "sort=seed",
    ]
    assert positional_runs(["x", "--cfg", "job"]) == ["runs=['x']", "--cfg", "job"]
    assert positional_runs(["sort=seed"]) == ["sort=seed"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["runs=x"], "runs must be a list"),
        (["runs=[]"], "name folders of runs"),
        (["group=scale"], "unknown group 'scale'; choose one of: none, seed"),
        (["filter=eager"], "filter must be like"),
        (["baseline=[a]"], "baseline is one run or a filter"),
        (["baseline=b"], "baseline: b must mean one row"),
        (["unfinished=1"], "unfinished is true or false"),
        (["resamples=10"], "resamples must be an integer of at least 100"),
        (["images=-1"], "images must be an integer of at least 0"),
        (["seed=x"], "seed must be an integer"),
        (
            ["set=Set14"],
            "no run has metric=psnr_y on set=Set14; there are Set5/psnr_y",
        ),
        (["metric=lpips"], "no run has metric=lpips"),
        (["sort=speed"], "sort: there is no 'speed'"),
    ],
)
def test_wrong_options_are_one_line_and_nothing_is_written(tmp_path, make_run, overrides, message):
    make_run(tmp_path / "a")
    with pytest.raises(InputError, match=message) as caught:
        run(f"runs=[{tmp_path}]", f"output_dir={tmp_path / 'out'}", *overrides)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_file_that_cannot_be_written_leaves_the_others_whole(tmp_path, make_run):
    make_run(tmp_path / "a")
    (tmp_path / "out").write_text("")
    with pytest.raises(OSError, match="out"):
        run(f"runs=[{tmp_path}]", f"output_dir={tmp_path / 'out'}")
    assert (tmp_path / "out").read_text() == ""


def test_the_command_takes_folders_and_tells_in_one_line_what_is_wrong(tmp_path, make_run, esc_sr):
    make_run(tmp_path / "runs" / "a=1")
    for arguments, code in ((["runs/a=1", "output_dir=out"], 0), (["nowhere"], 1)):
        done = esc_sr("report", *arguments, cwd=tmp_path)
        assert done.returncode == code, done.stderr
    assert done.stderr == (
        "esc-sr: error: there is no folder nowhere, and it is no pattern of any\n"
    )
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES | PICTURES
