"""The training command, in this process and as a user calls it."""

import csv
import json
import shutil
import subprocess
import sys
from functools import partial
from itertools import islice
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.strategies import FSDPStrategy, SingleDeviceStrategy
from PIL import Image

from esc_sr import load_model
from esc_sr.config import compose_config
from esc_sr.data.sampler import ResumableSampler
from esc_sr.errors import InputError
from esc_sr.files import file_digest
from esc_sr.losses.weighted import WeightedLoss
from esc_sr.models.checkpoints import read_checkpoint
from esc_sr.models.packaged import find_weights
from esc_sr.reporting.logs import read_curves
from esc_sr.runs.record import read_record
from esc_sr.tasks.train import check_accelerator, check_sharding, run
from esc_sr.training import module
from esc_sr.training.callbacks.checkpoint import LastCheckpoint
from esc_sr.training.callbacks.latency import LatencyMonitor
from esc_sr.training.callbacks.non_finite import NonFiniteGuard
from tiny import MODEL, TRAINING

# A network of a few thousand weights on the packaged photographs.
TINY = [
    *TRAINING,
    "trainer.max_steps=4",
    "trainer.log_every_n_steps=1",
]
SAMPLE = Path(module.__file__).parents[1] / "data" / "sample"
FEW_CALLBACKS = ["callbacks=checkpoint", "final_table=false"]
pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers.*",
    "ignore:Checkpoint directory .* exists and is not empty",  # said at every resume
)


def train(output_dir, *overrides):
    return run(compose_config("train", [*TINY, *overrides, f"paths.output_dir={output_dir}"]))


def weights(path):
    return read_checkpoint(path).state_dict


def last_state(output_dir):
    return torch.load(output_dir / "checkpoints" / "last.ckpt", weights_only=True)


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_a_run_leaves_weights_checkpoints_pictures_and_numbers(tmp_path):
    result = train(tmp_path)
    assert result.checkpoint == tmp_path / "checkpoints" / "best.ckpt"
    assert (tmp_path / "checkpoints" / "last.ckpt").is_file()
    assert same(weights(tmp_path / "model.safetensors"), weights(result.checkpoint))
    pictures = list((tmp_path / "images" / "sample").glob("*.png"))
    assert pictures
    for picture in pictures:
        Image.open(picture).verify()
    bicubic, esc = result.table
    assert (bicubic.network, esc.network) == ("bicubic", "ESC")
    assert esc.sets["sample"].means()["psnr_y"] == pytest.approx(result.best_score, abs=1e-3)
    with open(tmp_path / "csv" / "version_0" / "metrics.csv") as file:
        rows = list(csv.DictReader(file))
    logged = {key for row in rows for key, value in row.items() if value}
    assert logged >= {
        "train/loss",
        "train/loss/l1",
        "train/grad_norm",
        "val/sample/psnr_y",
        "val/sample/ssim_y",
        "val/psnr_y",
        "perf/latency_ms",
        "perf/peak_memory_mib",
        "perf/inference_peak_memory_mib",
        "perf/samples_per_sec",
    }
    steps = [int(row["step"]) for row in rows if row["train/loss"]]
    assert steps == [0, 1, 2, 3]


def test_the_same_seed_gives_the_same_weights_and_another_one_others(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(tmp_path / name, *FEW_CALLBACKS, f"seed={seed}")
    a, b, c = (weights(tmp_path / name / "model.safetensors") for name in "abc")
    assert same(a, b)
    assert not same(a, c)


@pytest.mark.parametrize(
    "setup",
    [
        pytest.param(
            ["callbacks=default", "trainer.val_check_interval=4"], marks=pytest.mark.slow
        ),  # CI kills such a run: tests/robustness/test_crashes.py
        [
            "trainer.accumulate_grad_batches=2",
            "callbacks=[checkpoint,ema]",
            "trainer.val_check_interval=8",
        ],
        ["data.num_workers=2", "callbacks=checkpoint", "trainer.val_check_interval=4"],
        ["callbacks=[checkpoint,ema]", "trainer.val_check_interval=3"],
    ],
    ids=["ema", "accumulation", "workers", "stopped_between_validations"],
)
def test_a_resumed_run_takes_the_same_steps_as_an_unbroken_one(tmp_path, setup):
    common = ["final_table=false", "scheduler.max_steps=8", *setup]
    train(tmp_path / "unbroken", *common, "trainer.max_steps=8")
    train(tmp_path / "broken", *common, "trainer.max_steps=4")
    half = tmp_path / "broken" / "checkpoints" / "last.ckpt"
    train(tmp_path / "broken", *common, "trainer.max_steps=8", f"ckpt_path={half}")
    unbroken, broken = (last_state(tmp_path / name) for name in ("unbroken", "broken"))
    assert broken["global_step"] == unbroken["global_step"] == 8
    assert same(broken["state_dict"], unbroken["state_dict"])
    key = "current_model_state"
    assert same(broken.get(key, {}), unbroken.get(key, {}))
    assert broken["SRDataModule"] == unbroken["SRDataModule"]
    for ours, expected in zip(
        broken["optimizer_states"][0]["state"].values(),
        unbroken["optimizer_states"][0]["state"].values(),
        strict=True,
    ):
        assert same(ours, expected)


def test_resuming_from_what_does_not_fit_is_told_in_one_line(tmp_path):
    result = train(tmp_path / "a", *FEW_CALLBACKS)
    with pytest.raises(InputError, match=r"are not those of this ESC: .* of another shape"):
        train(tmp_path / "b", *FEW_CALLBACKS, "model.dim=32", f"ckpt_path={result.checkpoint}")
    cut = tmp_path / "cut.ckpt"
    cut.write_bytes(result.checkpoint.read_bytes()[:5000])
    with pytest.raises(InputError, match=r"cut\.ckpt as a checkpoint: it is damaged"):
        train(tmp_path / "c", *FEW_CALLBACKS, f"ckpt_path={cut}")


@pytest.mark.parametrize("interval", [2, 9])
def test_the_last_step_is_validated_whatever_the_interval(tmp_path, interval):
    """The steps behind the last validation were for nothing: earlier weights were the best."""
    result = train(
        tmp_path, *FEW_CALLBACKS, "trainer.max_steps=3", f"trainer.val_check_interval={interval}"
    )
    assert last_state(tmp_path)["global_step"] == 3
    curves, _ = read_curves(tmp_path)
    assert sorted(curves["val/psnr_y"]) == ([2, 3] if interval == 2 else [3])
    assert result.best_score == max(curves["val/psnr_y"].values())
    assert result.checkpoint == tmp_path / "checkpoints" / "best.ckpt"


def test_last_resumes_where_there_is_something_and_starts_where_there_is_not(tmp_path):
    first = train(tmp_path, *FEW_CALLBACKS, "ckpt_path=last", "trainer.max_steps=2")
    assert first.checkpoint is not None
    train(tmp_path, *FEW_CALLBACKS, "ckpt_path=last", "trainer.max_steps=6")
    checkpoint = last_state(tmp_path)
    assert checkpoint["global_step"] == 6
    assert checkpoint["SRDataModule"]["samples_seen"] == 12
    # the numbers of both parts are kept
    assert len(list(tmp_path.glob("csv/version_*/metrics.csv"))) == 2


def test_warm_start_takes_the_weights_of_another_scale(tmp_path):
    train(tmp_path / "x2", *FEW_CALLBACKS)
    model = tmp_path / "x2" / "model.safetensors"
    result = train(
        tmp_path / "x3",
        *FEW_CALLBACKS,
        "scale=3",
        f"init_from={model}",
        "optimizer.lr=0.0",
    )
    warm = weights(result.output_dir / "model.safetensors")
    cold = weights(model)
    assert warm["to_img.weight"].shape[0] == 27
    assert all(torch.equal(warm[key], cold[key]) for key in cold if not key.startswith("to_img"))


def test_warm_start_from_packaged_weights(tmp_path):
    size = [word for word in TINY if word not in MODEL]  # the quickstart's: that of the weights
    changes = ["init_from=esc_tiny_x4", "optimizer.lr=0.0", "trainer.max_steps=2", *FEW_CALLBACKS]
    run(compose_config("train", [*size, *changes, f"paths.output_dir={tmp_path}"]))
    warm, packaged = (weights(path) for path in (tmp_path / "model.safetensors", "esc_tiny_x4"))
    body = [key for key in packaged if not key.startswith("to_img")]
    assert all(torch.equal(warm[key], packaged[key].float()) for key in body)
    assert read_record(tmp_path).files["init_from"] == file_digest(find_weights("esc_tiny_x4"))


@pytest.mark.parametrize("attention", ["eager", "sdpa", "conv_attn"])
def test_every_attention_that_trains_on_a_cpu_does(tmp_path, attention):
    result = train(tmp_path, *FEW_CALLBACKS, f"attention={attention}", "trainer.max_steps=2")
    network = load_model(result.output_dir / "model.safetensors")
    assert network(torch.rand(1, 3, 9, 9)).shape == (1, 3, 18, 18)


def test_the_network_of_self_attention_only_trains_resumes_and_says_what_it_is(tmp_path):
    common = [*FEW_CALLBACKS, "model=esc_attn", "ckpt_path=last"]
    train(tmp_path, *common, "trainer.max_steps=2")
    result = train(tmp_path, *common, "final_table=true")
    assert [row.network for row in result.table] == ["bicubic", "ESC (self-attention)"]
    network = load_model(result.output_dir / "model.safetensors", attention="eager")
    assert network.self_attention_only
    with pytest.raises(InputError, match=r"are not those of this ESC: \d+ missing"):
        train(tmp_path, *FEW_CALLBACKS, "ckpt_path=last")
    with pytest.raises(InputError, match="exclude each other"):
        train(tmp_path / "b", *common, "attention=conv_attn")


@pytest.mark.parametrize("loss", ["charbonnier", "fft", "l1_fft"])
def test_every_loss_trains_and_its_terms_are_logged(tmp_path, loss):
    train(tmp_path, *FEW_CALLBACKS, f"loss={loss}", "trainer.max_steps=2")
    header = (tmp_path / "csv" / "version_0" / "metrics.csv").read_text().splitlines()[0].split(",")
    terms = {name for name in header if name.startswith("train/loss/")}
    assert len(terms) == (2 if loss == "l1_fft" else 1)


def test_bfloat16_and_compilation_train(tmp_path, monkeypatch):
    compiled = []
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda self, dynamic: compiled.append(type(self))
    )
    result = train(tmp_path, *FEW_CALLBACKS, "trainer.precision=bf16-mixed", "compile=true")
    assert [cls.__name__ for cls in compiled] == ["ESC"]
    values = weights(result.output_dir / "model.safetensors").values()
    assert {value.dtype for value in values} == {torch.float32}


def assert_learns_the_same(tmp_path, option):
    plain = train(tmp_path / "plain", *FEW_CALLBACKS)
    other = train(tmp_path / "other", *FEW_CALLBACKS, option)
    a, b = (weights(r.output_dir / "model.safetensors") for r in (plain, other))
    for key in a:
        torch.testing.assert_close(a[key], b[key], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_a_compiled_run_learns_the_same(tmp_path):
    assert_learns_the_same(tmp_path, "compile=true")


def test_channels_last_learns_the_same(tmp_path):
    assert_learns_the_same(tmp_path, "channels_last=true")
    resumed = train(
        tmp_path / "other",
        *FEW_CALLBACKS,
        "channels_last=true",
        "ckpt_path=last",
        "trainer.max_steps=6",
        "scheduler.max_steps=6",
    )
    assert read_checkpoint(resumed.output_dir / "checkpoints" / "last.ckpt").is_training_state


@pytest.mark.slow
def test_two_processes_equal_one_with_the_doubled_batch(tmp_path):
    common = [*FEW_CALLBACKS, "callbacks=checkpoint"]
    done = process(*common, "data.batch_size=4", "run_dir=one", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = process(
        *common,
        "trainer=ddp",
        "trainer.precision=32-true",
        "trainer.devices=2",
        "data.batch_size=2",
        "run_dir=two",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    one, two = (weights(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    for key in one:
        torch.testing.assert_close(one[key], two[key], rtol=1e-4, atol=1e-5)


FAULTY = """
import os
from torch import nn

class Faulty(nn.Module):
    calls = 0

    def forward(self, sr, gt):
        self.calls += 1
        loss = (sr - gt).abs().mean()
        second = int(os.environ.get("LOCAL_RANK", 0)) == 1
        factor = {5: float("inf"), 7: 1000.0}.get(self.calls, 0) if second else 0
        return {"l1": loss, "more": loss.detach() * factor}
"""


@pytest.mark.slow
def test_processes_skip_together_and_report_the_batch_of_the_one_that_is_to_blame(tmp_path):
    """The second of two has a loss that is infinite, whose gradient is finite, and one too high."""
    (tmp_path / "faulty.py").write_text(FAULTY)
    options = ["~loss.terms", "loss._target_=faulty.Faulty", "trainer.max_steps=7"]
    done = process(
        *options,
        "callbacks=[checkpoint,guard,spikes]",
        "callbacks.guard.policy=skip",
        "callbacks.spikes.window=4",
        "callbacks.spikes.deviations=50",
        "final_table=false",
        "trainer=ddp",
        "trainer.accelerator=cpu",
        "trainer.precision=32-true",
        "trainer.devices=2",
        "run_dir=run",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert last_state(tmp_path / "run")["global_step"] == 7
    log = (tmp_path / "run" / "train.log").read_text()
    assert log.count("the step is not taken") == 1
    assert "loss term 'more' is inf at step 4 in a batch of " in log
    with (tmp_path / "run" / "spikes.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["step"], row["rank"]) == ("5", "1")  # seven batches, six steps before: one skipped
    # Six batches of two processes lie before it; two samples each.
    assert int(row["position"]) == 6 * 2 * 2 + 1
    keys = islice(ResumableSampler(num_images=12, start=25, world_size=2), 2)
    names = sorted(path.stem for path in SAMPLE.glob("train/*.jpg"))
    assert json.loads(row["names"]) == [names[key.image_index] for key in keys]


@pytest.mark.slow
def test_weights_in_shards_learn_the_same_and_resume(tmp_path):
    """FSDP as torch and Lightning have it, on two processes; on a CPU for want of GPUs."""
    shutil.copy(Path(__file__).parents[1] / "references" / "cpu_fsdp.py", tmp_path)
    common = [
        "callbacks=checkpoint",
        "final_table=false",
        "scheduler.max_steps=8",
        "trainer.accelerator=cpu",
        "trainer.precision=32-true",
        "trainer.devices=2",
        "trainer.gradient_clip_val=null",
    ]
    sharded = [
        "trainer=fsdp",
        *common,
        "trainer.strategy._target_=cpu_fsdp.CPUFSDP",
        "+trainer.strategy.process_group_backend=gloo",
    ]
    for run_dir, choice, more in (
        ("whole", ["trainer=ddp", *common], []),
        ("shards", sharded, []),
        ("whole", ["trainer=ddp", *common], ["trainer.max_steps=6", "ckpt_path=last"]),
        ("shards", sharded, ["trainer.max_steps=6", "ckpt_path=last"]),
    ):
        done = process(*choice, f"run_dir={run_dir}", *more, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
    whole, shards = (weights(tmp_path / name / "model.safetensors") for name in ("whole", "shards"))
    assert whole.keys() == shards.keys()
    for key in whole:
        torch.testing.assert_close(whole[key], shards[key], rtol=1e-5, atol=1e-6)
    network = load_model(tmp_path / "shards" / "model.safetensors")
    assert network(torch.rand(1, 3, 9, 9)).shape == (1, 3, 18, 18)


def test_what_needs_all_weights_is_refused_where_they_are_sharded():
    strategy = FSDPStrategy()
    checkpoint, average = LastCheckpoint(dirpath="."), EMAWeightAveraging(decay=0.9)
    check_sharding(strategy, [checkpoint], None)
    check_sharding(strategy, [checkpoint, NonFiniteGuard(policy="skip")], None)
    check_sharding(SingleDeviceStrategy(), [average, NonFiniteGuard(policy="restore")], 1.0)
    with pytest.raises(InputError, match=r"cannot work with NonFiniteGuard: choose callbacks="):
        check_sharding(strategy, [checkpoint, NonFiniteGuard(policy="restore")], None)
    with pytest.raises(InputError, match=r"EMAWeightAveraging, LatencyMonitor: choose callbacks="):
        check_sharding(strategy, [checkpoint, average, LatencyMonitor()], None)
    with pytest.raises(InputError, match="needs checkpoints"):
        check_sharding(strategy, [], None)
    with pytest.raises(InputError, match="gradient_clip_val=null"):
        check_sharding(strategy, [checkpoint], 1.0)


def test_training_lowers_the_loss(tmp_path):
    train(tmp_path, *FEW_CALLBACKS, "trainer.max_steps=40", "trainer.val_check_interval=40")
    with open(tmp_path / "csv" / "version_0" / "metrics.csv") as file:
        losses = [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])


def test_overfitting_one_batch_repeats_it(tmp_path):
    train(
        tmp_path,
        *FEW_CALLBACKS,
        "debug=overfit",
        "trainer.max_steps=3",
        "optimizer.lr=0.0",
    )
    with open(tmp_path / "csv" / "version_0" / "metrics.csv") as file:
        losses = [row["train/loss"] for row in csv.DictReader(file) if row["train/loss"]]
    assert len(losses) == 3
    assert len(set(losses)) == 1


def test_a_nan_stops_training_and_names_the_term_and_the_step(tmp_path, monkeypatch):
    original, calls = WeightedLoss.forward, []

    def broken_at_step_3(self, sr, gt):
        calls.append(None)
        terms = original(self, sr, gt)
        return {"l1": terms["l1"] * float("nan")} if len(calls) == 4 else terms

    monkeypatch.setattr(WeightedLoss, "forward", broken_at_step_3)
    with pytest.raises(
        InputError, match=r"loss term 'l1' is nan at step 3 in a batch of [\w-]+, [\w-]+: "
    ) as caught:
        train(tmp_path, *FEW_CALLBACKS)
    last = tmp_path / "checkpoints" / "last.ckpt"
    assert f"the last good checkpoint is {last}" in str(caught.value)
    assert last_state(tmp_path)["global_step"] == 2


def test_a_learning_rate_that_is_too_high_stops_training(tmp_path):
    with pytest.raises(InputError, match=r"is (nan|inf) at step [1-9].*try a lower optimizer.lr"):
        train(
            tmp_path,
            *FEW_CALLBACKS,
            "optimizer.lr=1.0e+30",
            "trainer.gradient_clip_val=null",
            "trainer.val_check_interval=4",
        )


def test_a_gradient_that_is_not_finite_never_reaches_the_weights(tmp_path, monkeypatch):
    def poisoned(self, sr, gt):
        # The loss is finite, its gradient is not: the derivative of a square root at zero.
        return {"l1": (sr - sr).abs().sum().sqrt() + (sr - gt).abs().mean()}

    monkeypatch.setattr(WeightedLoss, "forward", poisoned)
    with pytest.raises(InputError, match=r"the gradient norm is nan at step 0.*no checkpoint"):
        train(tmp_path, *FEW_CALLBACKS)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["attention=flex"], "attention=flex cannot train on a CPU"),
        (["seed=-1"], "seed must be an integer of at least 0, got -1"),
        (["seed=abc"], "seed must be an integer of at least 0, got 'abc'"),
        (["scale=2.5"], "scale must be an integer of at least 1"),
        (["trainer.max_steps=abc"], "trainer.max_steps must be an integer"),
        (["trainer.accumulate_grad_batches=0"], "accumulate_grad_batches must be an integer"),
        (["data.batch_size=0"], "data.batch_size must be an integer of at least 1"),
        (["data.num_workers=abc"], "data.num_workers must be an integer"),
        (["data.train.crop_size=abc"], "crop_size must be an integer"),
        (["optimizer.lr=-1"], "optimizer: Invalid learning rate"),
        (["+optimizer.nonsense=1"], "optimizer: .*nonsense"),
        (["scheduler.warmup_steps=abc"], "scheduler: "),
        (["trainer.precision=fp8"], "trainer: .*fp8"),
        (["trainer.val_check_interval=3", "trainer.accumulate_grad_batches=2"], "multiple"),
        (["trainer.val_check_interval=0.5"], "val_check_interval must be an integer"),
        (["ckpt_path=nowhere.ckpt"], "there is no checkpoint nowhere.ckpt"),
        (["init_from=nowhere.pth"], "init_from: there is no checkpoint nowhere.pth"),
        (["data=div2k", "paths.data_dir=/nowhere"], "/nowhere/DIV2K.*DIV2K_train_HR.zip"),
        (["monitor=val/Set5/psnr_y"], "monitor=val/Set5/psnr_y.*val/sample/psnr_y"),
        (["data.train.crop_size=500"], "smaller than the crop"),
        (["model.num_heads=3"], "num_heads=3 must divide"),
        (["loss.terms.l1.weight=-1"], "weight"),
        (["+model.depth=3"], "depth"),
    ],
)
def test_impossible_configurations_fail_at_start_in_one_line(tmp_path, overrides, message):
    with pytest.raises(InputError, match=message) as caught:
        train(tmp_path, *overrides)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "checkpoints").exists()


def process(*arguments, cwd):
    call = [sys.executable, "-m", "esc_sr", "train", *TINY, *arguments]
    return subprocess.run(call, capture_output=True, text=True, cwd=cwd)


@pytest.fixture
def command(esc_sr):
    return partial(esc_sr, "train", *TINY)


def test_bicubic_cannot_be_trained(tmp_path):
    cfg = compose_config("train", ["model=bicubic", f"paths.output_dir={tmp_path}"])
    with pytest.raises(InputError, match="Bicubic has no attention to choose: add ~attention"):
        run(cfg)
    overrides = ["model=bicubic", "~attention", f"paths.output_dir={tmp_path}"]
    with pytest.raises(InputError, match="Bicubic has nothing to train"):
        run(compose_config("train", overrides))


def test_a_finished_run_is_not_overwritten(tmp_path):
    train(tmp_path, *FEW_CALLBACKS)
    before = (tmp_path / "checkpoints" / "last.ckpt").read_bytes()
    with pytest.raises(InputError, match="holds a run already: go on with ckpt_path=last"):
        train(tmp_path, *FEW_CALLBACKS, "seed=3")
    assert (tmp_path / "checkpoints" / "last.ckpt").read_bytes() == before


def test_weights_alone_cannot_be_resumed(tmp_path):
    result = train(tmp_path / "a", *FEW_CALLBACKS)
    model = result.output_dir / "model.safetensors"
    with pytest.raises(InputError, match=r"weights only.*init_from=.*starts a new run"):
        train(tmp_path / "b", *FEW_CALLBACKS, f"ckpt_path={model}")


def test_no_logger_and_no_callbacks(tmp_path):
    for name, choice in (("a", "logger=none"), ("b", "logger=[]")):
        result = train(tmp_path / name, choice, "callbacks=none", "final_table=false")
        left = {path.name for path in result.output_dir.iterdir() if path.suffix != ".diff"}
        assert left == {"model.safetensors", "run.json"}


def test_validation_that_is_not_finite_stops_before_anything_is_saved(tmp_path, monkeypatch):
    """Checkpoints are written after validation: the good one must not be overwritten."""
    original, calls = module.enlarge, []

    def broken_later(network, lq, *, forward):
        calls.append(None)
        sr = original(network, lq, forward=forward)
        return sr * float("nan") if len(calls) > 1 + 3 else sr  # the trial image, one validation

    monkeypatch.setattr(module, "enlarge", broken_later)
    message = r"validation image 'egg-basket' is not finite at step 4.*last\.ckpt"
    with pytest.raises(InputError, match=message):
        train(tmp_path, *FEW_CALLBACKS)
    assert last_state(tmp_path)["global_step"] == 2


def test_the_command_tells_what_is_wrong_in_one_line(tmp_path):
    done = process("attention=flex", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("esc-sr: error: attention=flex cannot")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("workers", [0, 2])
def test_a_corrupt_image_is_named_or_skipped(tmp_path, workers, command):
    photos, held_out = tmp_path / "photos", tmp_path / "held_out"
    image = Image.effect_noise((64, 64), 60).convert("RGB")
    for folder in (photos, held_out):
        folder.mkdir()
        for name in ("a.png", "b.png", "c.png"):
            image.save(folder / name)
    broken = photos / "b.png"
    broken.write_bytes(broken.read_bytes()[:3000])
    common = [
        "data=folder",
        f"data.train.gt_dir={photos}",
        f"data.val.valid.gt_dir={held_out}",
        f"data.num_workers={workers}",
        "callbacks=none",
        "final_table=false",
    ]
    stopped = command(*common, cwd=tmp_path)
    assert stopped.returncode == 1
    (line,) = [x for x in stopped.stderr.splitlines() if x.startswith("esc-sr: error")]
    assert str(broken) in line
    assert "Traceback" not in stopped.stderr
    skipped = command(*common, "data.train.on_corrupt=skip", cwd=tmp_path)
    assert skipped.returncode == 0, skipped.stderr
    assert "skipped: " in skipped.stdout + skipped.stderr


def test_a_multirun_makes_one_folder_for_each_attention(tmp_path, command):
    sweep = tmp_path / "sweep"
    done = command(
        "-m",
        "attention=sdpa,conv_attn",
        "final_table=false",
        "callbacks=checkpoint",
        f"hydra.sweep.dir={sweep}",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    runs = sorted(sweep.glob("*/model.safetensors"))
    assert [path.parent.name for path in runs] == ["0", "1"]
    has_attention = ["blocks.0.attn.to_qkv.weight" in weights(path) for path in runs]
    assert has_attention == [True, False]
    assert "- attention=sdpa" in (sweep / "0" / ".hydra" / "overrides.yaml").read_text()


def test_what_a_machine_lacks_is_said_with_what_to_do(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(InputError, match=r"accelerator=gpu: PyTorch finds no GPU.*trainer=cpu"):
        check_accelerator(compose_config("train", ["trainer=ddp"]).trainer.accelerator)


def test_a_multirun_has_one_folder(tmp_path, command):
    done = command("-m", "seed=0", "run_dir=mine", "hydra.sweep.dir=sweep", cwd=tmp_path)
    assert done.returncode == 1
    assert "numbered below one folder, hydra.sweep.dir=mine" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_question_of_an_ablation_is_a_multirun_by_itself(tmp_path, esc_sr):
    first, *rest = TINY
    question = first.replace("quickstart", "[quickstart,ablation/dynamic_kernel]")
    more = ["callbacks=none", "final_table=false", "seed=1", "hydra.sweep.dir=sweep"]
    done = esc_sr("train", question, *rest, *more, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    networks = [
        json.loads((tmp_path / "sweep" / job / "run.json").read_text())["network"]
        for job in ("0", "1")
    ]
    assert networks == ["ESC", "ESC (no dynamic kernel)"]


def test_resolved_configuration_is_recorded(tmp_path):
    result = train(tmp_path, *FEW_CALLBACKS)
    checkpoint = torch.load(result.checkpoint, weights_only=True)
    assert checkpoint["run_config"]["model"]["dim"] == 16
    assert checkpoint["network_config"]["architecture"] == "ESC"
