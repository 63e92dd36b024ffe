import json
import math

import pytest

from esc_sr.errors import InputError
from esc_sr.reporting.layout import difference_table, main_table, notes
from esc_sr.reporting.reading import read_runs
from esc_sr.reporting.table import tabulate


@pytest.fixture
def runs(tmp_path, make_run):
    """Two attentions, three seeds each; the second is better by 0.5 dB on every image."""
    for i, (attention, gain) in enumerate((("sdpa", 0.0), ("eager", 0.5))):
        for seed in range(3):
            psnr = [base + gain + 0.1 * seed for base in (25.0, 30.0, 36.0, 28.0)]
            folder = tmp_path / "sweep" / str(3 * i + seed)
            make_run(folder, psnr=psnr, attention=attention, seed=seed)
    return read_runs([str(tmp_path)])[0]


def texts(layout):
    return [[" / ".join(part.text for part in cell) for cell in row] for row in layout.rows]


def column(layout, name):
    names = [heading[0] for heading in layout.headings]
    return [row[names.index(name)] for row in texts(layout)]


def test_a_row_for_each_run_with_what_differs(runs):
    table = tabulate(runs)
    assert table.keys == ("attention", "seed")
    assert [row.values["run"] for row in table.rows] == ["0", "1", "2", "3", "4", "5"]
    assert table.rows[4].label == "attention=eager, seed=1"
    layout = main_table(table)
    assert column(layout, "attention") == ["sdpa"] * 3 + ["eager"] * 3
    assert column(layout, "Set5 best")[0] == "29.750 / 0.7437"
    assert column(layout, "Set5 last")[0] == "29.000 / 0.7000"
    assert column(layout, "latency")[:2] == ["10.0", "11.0"]
    assert column(layout, "time")[0] == "1:15 min"
    assert column(layout, "commit")[0] == "012345678+"
    best = [row[3][0].best for row in layout.rows]
    assert best == [False] * 5 + [True]
    assert "LQ 48×64, on Some CPU, 2 threads" in " ".join(notes(table))


def test_seeds_share_a_row_with_mean_and_spread(runs):
    table = tabulate(runs, group="seed", baseline={"attention": "sdpa"})
    assert [row.label for row in table.rows] == ["attention=sdpa", "attention=eager"]
    row = table.rows[0]
    assert row.number("Set5/psnr_y") == pytest.approx(29.85)
    assert row.spread["Set5/psnr_y"] == pytest.approx(0.1)
    assert row.values["seed"] == "0, 1, 2"
    layout = main_table(table)
    assert column(layout, "runs") == ["3", "3"]
    assert column(layout, "Set5 best")[1] == "30.350 ± 0.100 / 0.7588 ± 0.0025"
    found = table.differences[1]["Set5", "psnr_y"]
    assert (found.mean, found.low, found.high) == pytest.approx((0.5, 0.5, 0.5))
    assert found.images == 4
    assert texts(difference_table(table))[1][1] == "+0.500 [+0.500, +0.500]*"
    assert texts(difference_table(table))[0][1] == "baseline"


def test_repetitions_of_the_same_seed_are_told(tmp_path, make_run):
    for name in "ab":
        make_run(tmp_path / name)
    table = tabulate(read_runs([str(tmp_path)])[0], group="seed")
    assert len(table.rows) == 1
    assert "1 runs repeat another of the same seed, and count twice." in notes(table)


def test_one_run_is_a_row_too_and_no_spread_is_invented(tmp_path, make_run):
    make_run(tmp_path / "a")
    runs, _ = read_runs([str(tmp_path)])
    table = tabulate(runs, group="seed")
    assert table.rows[0].label == "ESC"
    assert table.rows[0].spread == {}


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("Set5/psnr_y", "0 1 2 3 4 5"),
        ("-Set5/psnr_y", "5 4 3 2 1 0"),
        ("attention", "3 4 5 0 1 2"),
        ("-seed", "2 5 1 4 0 3"),
        ("latency_ms", "0 3 1 4 2 5"),
        ("optimizer.lr", "0 1 2 3 4 5"),
    ],
)
def test_rows_are_sorted_by_any_column_or_key(runs, sort, expected):
    table = tabulate(runs, sort=sort)
    assert [row.values["run"] for row in table.rows] == expected.split()


def test_what_is_missing_or_nan_comes_last_either_way(tmp_path, make_run):
    make_run(tmp_path / "nan", psnr=(math.nan, 30.0))
    make_run(tmp_path / "none", results={}, measured={}, seed=1)
    make_run(tmp_path / "good", seed=2)
    for folder in ("nan", "none"):
        (tmp_path / folder / "csv" / "version_0" / "metrics.csv").unlink()
    runs, _ = read_runs([str(tmp_path)])
    for sort in ("Set5/psnr_y", "-Set5/psnr_y"):
        table = tabulate(runs, sort=sort)
        assert table.rows[0].values["run"] == "good"
    layout = main_table(table)
    names = [row.values["run"] for row in table.rows]
    shown = dict(zip(names, column(layout, "Set5 best"), strict=True))
    assert shown["nan"].startswith("NaN / ")
    assert shown["none"] == "– / –"


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"attention": "eager"}, "3 4 5"),
        ({"attention": ["eager", "flex"], "seed": 1}, "4"),
        ({"Set5/psnr_y": ">30.3"}, "4 5"),
        ({"latency_ms": "<=11"}, "0 1 3 4"),
        ({"optimizer.lr": 1e-3, "seed": [0, 2]}, "0 2 3 5"),
        ({"run": "2"}, "2"),
        (None, "0 1 2 3 4 5"),
    ],
)
def test_filters(runs, wanted, expected):
    table = tabulate(runs, wanted=wanted)
    assert [row.values["run"] for row in table.rows] == expected.split()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sort": "psnr"}, "sort: there is no 'psnr'; columns are scale, seed, Set5/psnr_y"),
        ({"wanted": {"attn": "sdpa"}}, "filter: there is no 'attn'"),
        ({"wanted": {"attention": "flex"}}, "filter leaves none of 6 runs: attention=flex"),
        ({"wanted": {"latency_ms": "<fast"}}, "'<fast' compares with no number"),
        ({"baseline": "nowhere"}, "baseline: nowhere must mean one row, it means none"),
        ({"baseline": {"attention": "sdpa"}}, "it means attention=sdpa, seed=0, attention=sdpa, s"),
        ({"baseline": {"att": "sdpa"}}, "baseline: there is no 'att'; columns are scale"),
        ({"wanted": {"scale_x": 2}}, "filter: there is no 'scale_x'"),
    ],
)
def test_what_does_not_exist_is_one_line(runs, options, message):
    with pytest.raises(InputError, match=message) as caught:
        tabulate(runs, **options)
    assert "\n" not in str(caught.value)


def test_the_baseline_can_be_a_run_by_name_or_folder(runs):
    assert tabulate(runs, baseline="4").baseline == 4
    assert tabulate(runs, baseline=str(runs[2].folder)).baseline == 2
    assert tabulate(runs, baseline=str(runs[5].folder), group="seed").baseline == 1


def test_other_scales_and_sets_are_not_compared(tmp_path, make_run):
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", config={"scale": 4}, overrides=["scale=4"])
    make_run(tmp_path / "c", set_name="Urban100", config={"optimizer": {"lr": 1}})
    runs, _ = read_runs([str(tmp_path)])
    table = tabulate(runs, baseline="a")
    assert table.keys[0] == "scale"
    assert [dict(found) for found in table.differences] == [{}, {}, {}]
    assert table.qualities[0] == ("Set5", "psnr_y")
    assert ("Urban100", "ssim_y") in table.qualities
    layout = main_table(table)
    assert column(layout, "Urban100 best") == ["– / –", "– / –", "31.000 / 0.7750"]
    assert "Scales differ: quality compares within one scale." in notes(table)


def test_values_that_no_override_accounts_for_are_named(tmp_path, make_run):
    make_run(tmp_path / "a", overrides=None)
    make_run(tmp_path / "b", overrides=[], config={"optimizer": {"lr": 0.5}})
    table = tabulate(read_runs([str(tmp_path)])[0])
    assert table.keys == ("optimizer.lr",)
    assert [row.label for row in table.rows] == ["lr=0.001", "lr=0.5"]


def test_many_such_values_are_counted(tmp_path, make_run):
    make_run(tmp_path / "a", config={"model": {f"k{i}": f"{i}" for i in range(20)}})
    make_run(tmp_path / "b", config={"model": {f"k{i}": f"{i}x{i}" for i in range(20)}})
    table = tabulate(read_runs([str(tmp_path)])[0])
    assert (len(table.keys), table.unexplained) == (6, 14)
    assert "Runs differ in 14 further values of their configuration." in notes(table)


def test_equal_values_in_other_words_do_not_differ(tmp_path, make_run):
    make_run(tmp_path / "a", overrides=["optimizer.lr=1e-3", "run_dir=a", "logger=csv"])
    make_run(tmp_path / "b", overrides=["optimizer.lr=0.001", "run_dir=b", "paths.runs_dir=x"])
    table = tabulate(read_runs([str(tmp_path)])[0])
    assert table.keys == ()
    assert [row.label for row in table.rows] == ["a", "b"]


def test_quality_comes_from_the_log_where_there_was_no_final_table(tmp_path, make_run):
    make_run(tmp_path, results={})
    table = tabulate(read_runs([str(tmp_path)])[0])
    assert table.rows[0].number("Set5/psnr_y") == 31.0
    assert table.rows[0].number("Set5/psnr_y/last") == 29.0
    assert table.rows[0].number("best_step") == 20


def test_unfinished_damaged_and_empty_runs_are_told(tmp_path, make_run):
    make_run(tmp_path / "good")
    make_run(tmp_path / "failed", state="failed", error="loss is nan")
    make_run(tmp_path / "killed", state="running", sessions=[{"step": None, "wall_s": None}])
    make_run(tmp_path / "skipped", state="skipped", error="finished already in runs/good")
    make_run(tmp_path / "damaged")
    (tmp_path / "damaged" / "run.json").write_text("{")
    (tmp_path / "refused" / ".hydra").mkdir(parents=True)
    (tmp_path / "refused" / ".hydra" / "overrides.yaml").write_text("[]")
    runs, left_out = read_runs([str(tmp_path)])
    assert [run.name for run in runs] == ["good"]
    reasons = {one.name: one.reason for one in left_out}
    assert reasons["failed"] == "failed at step 40 of 40: loss is nan"
    assert reasons["killed"] == "running, or killed"
    assert reasons["skipped"].endswith("finished already in runs/good")
    assert "is damaged" in reasons["damaged"]
    assert reasons["refused"].startswith("no run.json: it ended before its first step")
    runs, left_out = read_runs([str(tmp_path)], unfinished=True)
    assert [run.name for run in runs] == ["failed", "good", "killed"]
    assert "failed: failed at step 40 of 40: loss is nan." in notes(tabulate(runs))
    assert column(main_table(tabulate(runs)), "state") == ["failed", "finished", "running"]


def test_places_are_folders_patterns_and_links_each_run_once(tmp_path, make_run, monkeypatch):
    make_run(tmp_path / "runs" / "a=1,b=2")
    make_run(tmp_path / "runs" / "[odd]", seed=1)
    (tmp_path / "link").symlink_to(tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    runs, _ = read_runs(["link", "runs/a*", "runs", "runs/[odd]"])
    assert [run.name for run in runs] == ["[odd]", "a=1,b=2"]


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ([], "name folders of runs or above"),
        (["nowhere*"], r"there is no folder nowhere\*, and it is no pattern of any"),
        (["empty"], "empty holds no run: no folder with a run.json"),
        (["failed"], "no finished run to report on .*failed.*; unfinished=true"),
    ],
)
def test_places_without_runs_are_one_line(tmp_path, make_run, monkeypatch, places, message):
    (tmp_path / "empty").mkdir()
    make_run(tmp_path / "failed", state="failed")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        read_runs(places)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0, -1e308, 1e308])
def test_amounts_that_nothing_has_are_not_known(tmp_path, make_run, value):
    make_run(
        tmp_path,
        params_k=value,
        macs_g=value,
        measured={"perf/latency_ms": value},
        sessions=[{"wall_s": value, "step": value}],
    )
    (row,) = tabulate(read_runs([str(tmp_path)])[0]).rows
    columns = ("params_k", "macs_g", "latency_ms", "wall_s", "steps")
    assert [row.values[key] for key in columns] == [None] * 4 + [40]  # the log tells the steps


def test_any_values_in_a_record_are_told_or_refused_never_a_traceback(tmp_path, make_run):
    """What stands in a run folder may have been written by anybody."""
    make_run(tmp_path / "good")
    odd = {
        "config": {"scale": "x", "callbacks": [1], "trainer": 3, "paths": "p", "seed": [1]},
        "choices": {"a": {"b": []}},
        "measured": {"val/a/b": {}, "val/Set5/psnr_y": "x", "perf/latency_ms": True, "val//": 1},
        "files": {"init_from": 3},
        "best_score": "inf",
        "results": {"S/x": {"images": ["a"], "q": ["nan"]}, "": {"images": []}},
        "sessions": [{"git": [{}], "device": {"name": {}, "threads": "x"}, "step": "inf"}],
    }
    for key, value in odd.items():
        content = json.loads((tmp_path / "good" / "run.json").read_text()) | {key: value}
        path = tmp_path / "odd" / "run.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
        runs, left_out = read_runs([str(tmp_path)])
        assert len(runs) + len(left_out) == 2
        for group in ("none", "seed"):
            main_table(tabulate(runs, group=group, sort="steps"))


def test_bundles_of_values_that_say_nothing_more_are_left_out(tmp_path, make_run):
    def write(i, recipe, attention, **config):
        make_run(
            tmp_path / str(i),
            attention=attention,
            choices={"experiment": recipe, "attention": attention},
            overrides=[f"experiment={recipe}", f"attention={attention}"],
            config=config,
        )

    def keys():
        return tabulate(read_runs([str(tmp_path)], unfinished=False)[0]).keys

    write(0, "a", "sdpa")
    write(1, "[a,b]", "eager")
    write(2, "[a,b]", "sdpa")
    assert keys() == ("attention",)
    write(3, "[a,c]", "sdpa", scale=3)  # a value of c that no other override tells
    assert keys() == ("experiment", "attention")


def test_the_end_of_a_key_will_do(tmp_path, make_run):
    for i, (size, rate) in enumerate([(8, 1), (16, 1), (16, 2)]):
        config = {
            "model": {"window_size": size, "dim": 4},
            "optimizer": {"lr": rate},
            "extra": {"lr": 1, "dim": 4},
        }
        overrides = [f"model.window_size={size}", f"optimizer.lr={rate}"]
        make_run(tmp_path / str(i), config=config, overrides=overrides)
    runs, _ = read_runs([str(tmp_path)], unfinished=False)
    assert len(tabulate(runs, wanted={"window_size": 16}).rows) == 2
    assert len(tabulate(runs, wanted={"lr": 2}).rows) == 1  # the one that differs
    assert tabulate(runs, baseline={"window_size": 8}).baseline == 0
    assert [row.values["run"] for row in tabulate(runs, sort="-window_size").rows] == [
        "1",
        "2",
        "0",
    ]
    with pytest.raises(
        InputError, match=r"'dim' may be any of model\.dim, extra\.dim; give one in"
    ):
        tabulate(runs, wanted={"dim": 4})
