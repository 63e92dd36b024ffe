import copy

import pytest
import yaml

from esc_sr.config import compose_config
from esc_sr.errors import InputError
from esc_sr.integrations.basicsr import experiment_of, experiment_yaml
from esc_sr.tasks.import_config import main, read_options

# As the authors write theirs, with a shorter network.
OPTIONS = """
name: ESC_DIV2K_X3
model_type: ESRModel
scale: 3
num_gpu: 1
manual_seed: 10
datasets:
  train:
    name: DIV2K
    type: PairedImageDataset
    dataroot_gt: data/HR_sub
    dataroot_lq: data/X3_sub
    filename_tmpl: '{}'
    io_backend: {type: disk}
    gt_size: 192
    use_hflip: true
    use_rot: true
    use_shuffle: true
    num_worker_per_gpu: 4
    batch_size_per_gpu: 16
    dataset_enlarge_ratio: 1
    prefetch_mode: cuda
    pin_memory: true
  val_1: {name: My Set, type: PairedImageDataset, dataroot_gt: data/set/HR,
          dataroot_lq: data/set/X3, filename_tmpl: '{}x3', io_backend: {type: disk}}
network_g: {type: ESC, dim: 16, pdim: 8, kernel_size: 13, n_blocks: 1, conv_blocks: 2,
            window_size: 16, num_heads: 2, upscaling_factor: 3, exp_ratio: 1.25, attn_type: Naive}
path: {pretrain_network_g: weights/ESC_X2.pth, param_key_g: params_ema, strict_load_g: true,
       resume_state: ~}
train:
  ema_decay: 0.99
  optim_g: {type: AdamW, lr: !!float 4e-4, weight_decay: 0, betas: [0.9, 0.99]}
  scheduler: {type: MultiStepLR, milestones: [2500, 4000], gamma: 0.5}
  total_iter: !!float 5e3
  warmup_iter: -1
  pixel_opt: {type: L1Loss, loss_weight: 1.0, reduction: mean}
val:
  val_freq: !!float 5e2
  save_img: False
  metrics: {psnr: {type: calculate_psnr, crop_border: 3, test_y_channel: True}}
logger: {print_freq: 100, save_checkpoint_freq: !!float 5e3, use_tb_logger: False,
         wandb: {project: ~}}
dist_params: {backend: nccl, port: 29500}
"""


def options(**changes):
    """Return the options with some leaves changed; dots are double underscores."""
    content = yaml.safe_load(OPTIONS)
    for key, value in changes.items():
        node = content
        *above, last = key.split("__")
        for name in above:
            node = node[name]
        node[last] = copy.deepcopy(value)
    return content


def composed(tmp_path, content):
    path = tmp_path / "experiment" / "it.yaml"
    path.parent.mkdir()
    path.write_text(experiment_yaml(experiment_of(content), "it.yml"))
    where = [f"hydra.searchpath=[file://{tmp_path}]", "paths.output_dir=out"]
    return compose_config("train", [*where, "experiment=it"])


def test_every_value_arrives(tmp_path):
    cfg = composed(tmp_path, options())
    assert (cfg.scale, cfg.seed, cfg.ema_decay, cfg.monitor) == (3, 10, 0.99, "val/psnr_y")
    assert cfg.model._target_ == "esc_sr.models.esc.ESC"
    wanted = {"dim": 16, "partial_dim": 8, "num_blocks": 1, "num_conv_attn": 2, "window_size": 16}
    assert {key: cfg.model[key] for key in wanted} == wanted
    assert cfg.model.attention.kernel._target_.endswith("EagerKernel")
    assert (cfg.data.train.gt_dir, cfg.data.train.lq_dir) == ("data/HR_sub", "data/X3_sub")
    assert (cfg.data.train.crop_size, cfg.data.train.augment) == (64, True)
    assert (cfg.data.batch_size, cfg.data.num_workers, cfg.data.pin_memory) == (16, 4, True)
    assert list(cfg.data.val) == ["My_Set"]
    assert cfg.data.val.My_Set.lq_dir == "data/set/X3"
    assert (cfg.optimizer.lr, list(cfg.optimizer.betas)) == (4e-4, [0.9, 0.99])
    assert cfg.optimizer._target_ == "torch.optim.AdamW"
    assert (list(cfg.scheduler.milestones), cfg.scheduler.warmup_steps) == ([2500, 4000], 0)
    trainer = (cfg.trainer.max_steps, cfg.trainer.val_check_interval, cfg.trainer.log_every_n_steps)
    assert trainer == (5000, 500, 100)
    assert cfg.init_from == "weights/ESC_X2.pth"
    assert list(cfg.logger) == ["csv"]


def test_nothing_is_lost_in_silence():
    assert list(experiment_of(options()).not_carried) == ["logger.save_checkpoint_freq"]
    content = options(
        network_d={"type": "UNetDiscriminatorSN", "num_feat": 64},
        train__gan_opt={"type": "GANLoss", "loss_weight": 0.1},
        datasets__train__use_rot=False,
        datasets__train__type="RealESRGANDataset",
        datasets__train__blur_kernel_size=21,
        datasets__val_1__filename_tmpl="{}_small",
        train__scheduler={"type": "CyclicLR", "base_lr": 0.1},
        path__resume_state="a.state",
        val__metrics__psnr__crop_border=4,
        network_g__something=1,
        model_type="RealESRGANModel",
    )
    assert set(experiment_of(content).not_carried) == {
        "logger.save_checkpoint_freq",
        "network_d.type",
        "network_d.num_feat",
        "train.gan_opt.type",
        "train.gan_opt.loss_weight",
        "datasets.train.use_hflip, use_rot",
        "datasets.train.type",
        "datasets.train.blur_kernel_size",
        "datasets.val_1.filename_tmpl",
        "train.scheduler.type",
        "train.scheduler.base_lr",
        "path.resume_state",
        "val.metrics.psnr.crop_border",
        "network_g.something",
        "model_type",
    }


def test_other_choices(tmp_path):
    content = options(
        num_gpu=4,
        train__optim_g={"type": "Adam", "lr": 1e-4},
        train__scheduler={
            "type": "CosineAnnealingRestartLR", "periods": [5000], "restart_weights": [1],
            "eta_min": 1e-7,
        },
        train__fft_opt={"type": "FFTLoss", "loss_weight": 0.1},
        val__metrics={"psnr": {"crop_border": 3, "test_y_channel": False}},
        logger__wandb={"project": "mine"},
        network_g__type="ESCRealM",
        network_g__upsampler="pixelshuffle",
        network_g__unshuffle_mod=False,
    )  # fmt: skip
    del content["datasets"]["val_1"], content["network_g"]["attn_type"]
    cfg = composed(tmp_path, content)
    assert cfg.trainer.devices == 4
    assert cfg.trainer.strategy == "ddp"
    assert cfg.optimizer._target_ == "torch.optim.Adam"
    assert cfg.scheduler.min_factor == pytest.approx(1e-3)
    assert cfg.loss.terms.fft.weight == 0.1
    assert cfg.monitor == "val/psnr_rgb"
    assert cfg.logger.wandb.project == "mine"
    assert cfg.model._target_ == "esc_sr.models.esc_real.ESCRealM"
    assert (cfg.model.upsampler, cfg.model.unshuffle) == ("pixelshuffle", False)
    assert list(cfg.data.val) == ["Set5", "Set14"]


def test_nothing_of_the_file_is_interpolated(tmp_path):
    content = options(datasets__train__dataroot_gt="${oc.env:HOME}/x", name="a\nb: ${oc.env:HOME}")
    cfg = composed(tmp_path, content)
    assert cfg.data.train.gt_dir == "${oc.env:HOME}/x"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network_g__type": "MSRResNet"}, "network_g.type=MSRResNet is not known here; known are"),
        ({"network_g__upscaling_factor": 4}, "network_g.upscaling_factor must be the scale, 3"),
        ({"scale": "three"}, "scale must be a whole number, got three"),
        ({"datasets__train__gt_size": 100}, "gt_size=100 must be a multiple of the scale"),
        ({"train__optim_g__type": "Lion"}, "optim_g.type=Lion is not known here"),
        ({"train__optim_g__lr": None}, "train.optim_g.lr must be a number"),
        ({"train__pixel_opt__type": "MSELoss"}, "a loss of MSELoss is not known"),
        ({"datasets": {}}, "there is no 'datasets.train'"),
        ({"datasets__train__dataroot_gt": None}, "there is no datasets.train.dataroot_gt"),
    ],
)
def test_what_cannot_be_understood_is_named(changes, message):
    with pytest.raises(InputError, match=message):
        experiment_of(options(**changes))
    with pytest.raises(InputError, match="there is no 'network_g'"):
        experiment_of({"scale": 3})


def test_the_command_writes_what_can_be_trained_with(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "it.yml").write_text(OPTIONS)
    main(["it.yml"])
    out = capsys.readouterr().out
    assert "written: experiment/ESC_DIV2K_X3.yaml" in out
    assert "  logger.save_checkpoint_freq=5000.0: checkpoints are written at validations" in out
    assert "esc-sr train --config-dir . experiment=ESC_DIV2K_X3" in out
    with pytest.raises(SystemExit):
        main(["it.yml"])
    assert "ESC_DIV2K_X3.yaml exists; set overwrite=true" in capsys.readouterr().err
    main(["it.yml", "-o", "other/name.yaml"])
    assert (tmp_path / "other" / "name.yaml").is_file()
    bad = OPTIONS.replace("num_heads: 2", "num_heads: 3")
    (tmp_path / "bad.yml").write_text(bad)
    with pytest.raises(SystemExit):
        main(["bad.yml", "-o", "bad.yaml"])
    assert "num_heads=3 must divide model.dim=16" in capsys.readouterr().err
    assert not (tmp_path / "bad.yaml").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [1", "is no YAML of plain values"),
        (b"\xff\xfe", "is no YAML of plain values"),
        (b"!!python/object/apply:os.system ['touch hacked']", "is no YAML of plain values"),
        (b"- a", "holds a list"),
        (b"a" * (2**20 + 1), "larger than any option file"),
    ],
)
def test_odd_files_are_refused_and_nothing_runs(tmp_path, monkeypatch, content, message):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x.yml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_options(path)
    assert not (tmp_path / "hacked").exists()
