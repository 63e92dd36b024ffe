"""Records, results, logs and option files that are damaged or lie, through their readers.

Each is changed at random places from a seed; a reader takes it or refuses it in a line.
"""

import copy
import json
import os
import random
import signal

import pytest
import yaml

from esc_sr.comparison.documents import comma_separated, latex, markdown
from esc_sr.comparison.measured import measured_comparison
from esc_sr.comparison.reading import read_measurements, read_quality
from esc_sr.comparison.sections import check_sets, notes, tabulate
from esc_sr.config import _check_own_files
from esc_sr.errors import InputError, printable
from esc_sr.integrations.basicsr import experiment_of, experiment_yaml
from esc_sr.reporting.crops import comparisons
from esc_sr.reporting.logs import read_curves
from esc_sr.reporting.reading import read_runs
from esc_sr.reporting.table import tabulate as tabulate_runs
from esc_sr.runs.record import read_record

SEED = 20261126
VALUES = [None, True, 3, -1, 0, 1.5, float("nan"), float("inf"), 10**400, -(10**400), 1e308, "",
          "x", "<script>", "a\nb", "\ud800", [], [1], [[]], {}, {"a": 1}]  # fmt: skip
RAW = [b"", b"[" * 5000, b'{"a":' * 5000, b"1" * 5000, b"[1e999]", b"\xff\xfe", b"nan", b"{}",
       b'"text"', bytes(100), b"[{}]", b'{"a": {"a": {"a": 1}}}']  # fmt: skip
QUALITY = {
    "Set5": {"network": "esc", "scale": 4, "images": 5, "seconds": 1.0, "protocol": ["p"],
             "conditions": [], "psnr_y": 30.0, "ssim_y": 0.8, "weights": "abc"},
    "Set14": {"network": "esc", "scale": 4, "psnr_y": 30.0},
}  # fmt: skip
OPTIONS = """
name: it
model_type: ESRModel
scale: 2
num_gpu: 1
manual_seed: 0
datasets:
  train: {type: PairedImageDataset, dataroot_gt: a, dataroot_lq: b, gt_size: 128,
          use_hflip: true, use_rot: true, batch_size_per_gpu: 4, num_worker_per_gpu: 0}
  val: {name: Set5, type: PairedImageDataset, dataroot_gt: c, dataroot_lq: d}
network_g: {type: ESC, dim: 16, pdim: 8, kernel_size: 13, n_blocks: 1, conv_blocks: 1,
            window_size: 8, num_heads: 2, upscaling_factor: 2, exp_ratio: 2}
train:
  ema_decay: 0.999
  optim_g: {type: AdamW, lr: 5.0e-4, betas: [0.9, 0.9]}
  scheduler: {type: CosineAnnealingRestartLR, periods: [10], eta_min: 1.0e-7}
  total_iter: 10
  warmup_iter: -1
  pixel_opt: {type: L1Loss, loss_weight: 1.0}
val: {val_freq: 5}
logger: {print_freq: 1, use_tb_logger: false}
"""


def changed(content, generator):
    """Put one or two odd values in, or take something out."""
    content = copy.deepcopy(content)
    places = []

    def walk(node):
        keys = node if isinstance(node, dict) else range(len(node))
        for key in keys:
            places.append((node, key))
            if isinstance(node[key], dict | list):
                walk(node[key])

    walk(content)
    for node, key in generator.sample(places, generator.randint(1, 2)):
        if isinstance(node, dict) and generator.random() < 0.15:
            node.pop(key, None)
        else:
            node[key] = generator.choice(VALUES)
    return content


def survives(read):
    """Let a reader work; a refusal must be a short line. Say whether it was refused."""
    told = ""
    try:
        read()
    except InputError as error:
        told = str(error)
    assert len(printable(told)) < 700  # as commands tell it
    return bool(told)


def documents(measurements, qualities):
    rows = measured_comparison(measurements, qualities, 4)
    if rows:
        sets = check_sets(rows, None)
        sections, told = tabulate(rows, sets), notes(rows, sets)
        markdown(sections, told, title="t", picture=None)
        latex(sections, told, title="t")
        comma_separated(rows, sets)


def test_changed_measurements_and_results_are_read_or_refused(tmp_path, record):
    generator, path = random.Random(SEED), tmp_path / "x.json"
    content = [record(), record(network="rcan", attention=None)]
    refusals = 0
    for _ in range(150):
        path.write_text(json.dumps(changed(content, generator)))
        refusals += survives(lambda: documents(read_measurements(path), []))
        path.write_text(json.dumps(changed(QUALITY, generator)))
        refusals += survives(lambda: documents([], read_quality(path)))
    assert 100 < refusals < 300


def imported(options):
    text = experiment_yaml(experiment_of(options), "it.yml")
    assert isinstance(yaml.safe_load(text), dict)


def test_changed_options_of_basicsr_are_imported_or_refused():
    generator, content = random.Random(SEED), yaml.safe_load(OPTIONS)
    refusals = 0
    for _ in range(400):
        options = changed(content, generator)
        refusals += survives(lambda given=options: imported(given))
    assert 20 < refusals < 400


@pytest.mark.parametrize("key", ["bench", "results"])
def test_compare_refuses_files_of_something_else(attack, tmp_path, key):
    for number, content in enumerate(RAW[key == "results" :: 2]):
        name = f"f{number}.json"
        (tmp_path / name).write_bytes(content)
        attack("compare", "scale=4", f"{key}={name}", "output_dir=out", named=name)


OPTION_FILES = {
    "empty": b"", "binary": bytes(range(256)), "text": b"options", "list": b"- 1\n",
    "tag": b"!!python/object/apply:os.system ['touch executed']\n",
    "bomb": b"a0: &a0 [1,2,3,4,5,6,7,8,9]\n" + b"".join(
        b"a%d: &a%d [%s]\n" % (i, i, b",".join([b"*a%d" % (i - 1)] * 9)) for i in range(1, 12)
    ),
    "itself": b"a: &a {b: *a}\n",
    "nested": b"[" * 350 + b"]" * 350,
    "infinite scale": OPTIONS.replace("scale: 2", "scale: .inf").encode(),
    "learning rate of 0": OPTIONS.replace("lr: 5.0e-4", "lr: 0").encode(),
    "no text": OPTIONS.replace("name: it", 'name: "\\ud800"').replace("dim: 16", "dim: a").encode(),
}  # fmt: skip


@pytest.mark.parametrize("name", OPTION_FILES)
def test_import_config_refuses_what_holds_no_options(attack, tmp_path, name):
    (tmp_path / f"{name}.yml").write_bytes(OPTION_FILES[name])
    attack("import-config", f"{name}.yml", "-o", "out.yaml")


def test_report_leaves_damaged_runs_out_by_name(attack, esc_sr, tmp_path, make_run):
    make_run(tmp_path / "runs" / "good")
    generator = random.Random(SEED)
    content = json.loads((tmp_path / "runs" / "good" / "run.json").read_text())
    for number, raw in enumerate(RAW):
        folder = tmp_path / "runs" / f"raw{number}"
        folder.mkdir()
        (folder / "run.json").write_bytes(raw)
    for number in range(40):
        folder = tmp_path / "runs" / f"changed{number}"
        folder.mkdir()
        (folder / "run.json").write_text(json.dumps(changed(content, generator)))
    for number, raw in enumerate((b"", b"a,b\n1", bytes(200), b"step,val/psnr_y\nx,y\n", b"\xff")):
        folder = make_run(tmp_path / "runs" / f"log{number}", seed=number)
        (folder / "csv" / "version_0" / "metrics.csv").write_bytes(raw)
        for picture in folder.glob("images/*/*.png"):
            picture.write_bytes(picture.read_bytes()[:-30] if number else raw)
    done = esc_sr("report", "runs", "resamples=100", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "Traceback" not in done.stdout
    assert all(f"raw{number}" in done.stdout for number in range(len(RAW)))
    (tmp_path / "none").mkdir()
    attack("report", "none", named="none")
    attack("report", "runs/raw0", named="raw0")


@pytest.fixture
def no_waiting():
    """End what waits at a pipe."""

    def late(*_):
        raise TimeoutError("it waits for ever")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def pipe(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    return path


def without_end(path):
    """A gigabyte, which takes no room."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.touch()
    os.truncate(path, 2**30)
    return path


@pytest.mark.parametrize(
    ("make", "fault"), [(pipe, "is no ordinary file"), (without_end, "has more than {} MiB")]
)
def test_pipes_and_files_without_end_are_not_opened(tmp_path, make_run, no_waiting, make, fault):
    path, run = make(tmp_path / "x.json"), tmp_path / "run"
    for read in (read_measurements, read_quality):
        with pytest.raises(InputError, match=f"x.json {fault.format(64)}; `esc-sr"):
            read(path)

    make(tmp_path / "mine" / "a.yaml")
    with pytest.raises(InputError, match=f"a.yaml {fault.format(1)}: no configuration"):
        _check_own_files(["--config-dir", str(tmp_path / "mine")])

    make_run(run)
    pictures = list(run.glob("images/*/*_step*.png"))
    assert pictures
    for picture in pictures:
        make(picture)
    make(run / "csv" / "version_0" / "metrics.csv")
    runs, _ = read_runs([str(run)])
    assert comparisons(tabulate_runs(runs).rows, images=3) == []
    assert runs[0].remark == f"version_0/metrics.csv {fault.format(256)}"
    make(run / "run.json")
    with pytest.raises(InputError, match=f"run.json {fault.format(64)}"):
        read_record(run)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("step," + ",".join(f"k{i}" for i in range(10_000)) + "\n1,2\n", "10,000 columns"),
        ("step,x\n1," + "2" * 2**20, "a line without end"),
    ],
)
def test_a_log_of_endless_columns_is_left_out(tmp_path, content, problem):
    path = tmp_path / "csv" / "version_0" / "metrics.csv"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    curves, told = read_curves(tmp_path)
    assert curves == {}
    assert told.startswith("version_0/metrics.csv cannot be read: ")
    assert problem in told
