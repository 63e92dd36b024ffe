"""Understand option files of BasicSR, such as the authors', as an experiment of ours."""

from __future__ import annotations

import json
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from esc_sr.errors import InputError, printable

# What BasicSR calls networks, and the files of `conf/model`.
MODELS = {"ESC": "esc", "ESCFP": "esc_fp", "ESCReal": "esc_real", "ESCRealM": "esc_real_m"}
_ARGUMENTS = {
    "dim": "dim",
    "pdim": "partial_dim",
    "kernel_size": "large_kernel_size",
    "n_blocks": "num_blocks",
    "conv_blocks": "num_conv_attn",
    "window_size": "window_size",
    "num_heads": "num_heads",
    "exp_ratio": "ffn_ratio",
    "use_ln": "use_ln",
    "upsampler": "upsampler",
    "mid_dim": "mid_dim",
    "unshuffle_mod": "unshuffle",
}
_ATTENTION = {"Naive": "eager", "SDPA": "sdpa", "Flex": "flex"}
_OPTIMIZERS = {"Adam": "adam", "AdamW": "adamw"}
_LOSSES = {("L1Loss",): "l1", ("CharbonnierLoss",): "charbonnier", ("L1Loss", "FFTLoss"): "l1_fft"}
# Trained by what is carried here; others add losses, networks or data of their own.
_MODEL_TYPES = {"SRModel", "ESRModel"}
# What needs no counterpart: names, and how BasicSR goes about things that are settled here.
_NEEDLESS = {
    "name",
    "model_type",
    "datasets.*.name",
    "datasets.*.type",
    "datasets.*.io_backend.type",
    "datasets.train.use_shuffle",
    "datasets.train.dataset_enlarge_ratio",
    "datasets.train.prefetch_mode",
    "datasets.train.num_prefetch_queue",
    "network_g.type",
    "network_g.upscaling_factor",
    "network_g.deployment",
    "path.strict_load_g",
    "path.param_key_g",
    "train.optim_g.type",
    "train.scheduler.type",
    "train.pixel_opt.reduction",
    "val.metrics.*",
    "val.save_img",
    "dist_params.*",
}
_ADDED = "no validation set there"
_REASONS = {
    "logger.save_checkpoint_freq": "checkpoints are written at validations",
    "path.resume_state": "runs of BasicSR cannot be resumed here; init_from takes their weights",
    "network_d": "there is no adversarial training here",
    "train.gan_opt": "there is no adversarial training here",
    "train.optim_d": "there is no adversarial training here",
    "train.perceptual_opt": "there is no perceptual loss here",
}


@dataclass(frozen=True)
class Origin:
    """A value of an experiment, and where it comes from.

    Attributes:
        value: A plain value.
        key: Of the option file.
    """

    value: Any
    key: str


@dataclass
class Experiment:
    """What was understood.

    Attributes:
        name: Of the options.
        choices: By group of `conf/`, the file chosen; None: nothing of that group, it stands in
            `settings`.
        settings: Nested, with `Origin` as leaves.
        not_carried: By key, its value and why, for a person to read.
    """

    name: str
    choices: dict[str, str | list[str] | None] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    not_carried: dict[str, str] = field(default_factory=dict)

    def set(self, key: str, value: Any, origin: str) -> None:
        """Set a value by its dotted key."""
        node = self.settings
        *above, last = key.split(".")
        for name in above:
            node = node.setdefault(name, {})
        node[last] = Origin(value, origin)


def experiment_of(options: Mapping[str, Any]) -> Experiment:
    """Understand an option file.

    Args:
        options: Its content.

    Returns:
        The experiment, and what could not be carried.

    Raises:
        InputError: These are no options of BasicSR for training, or of a network that is not known
            here; the message names the key.
    """
    for key in ("scale", "network_g", "datasets", "train"):
        if key not in options:
            raise InputError(f"these are no options of BasicSR for training: there is no '{key}'")
    reader = _Reader(options)
    found = Experiment(str(options.get("name") or "imported"))
    scale = reader.whole("scale", found)
    _network(reader, found, scale)
    _data(reader, found, scale)
    _training(reader, found)
    _looking_on(reader, found, scale)
    kind = options.get("model_type")
    if kind is not None and not _is_one_of(kind, _MODEL_TYPES):
        found.not_carried["model_type"] = f"{kind}: trained by train.pixel_opt alone, as an SRModel"
    for key, value in reader.left().items():
        reason = next((r for k, r in _REASONS.items() if key == k or key.startswith(k + ".")), "")
        found.not_carried.setdefault(key, f"{value}" + (f": {reason}" if reason else ""))
    return found


class _Reader:
    """The leaves of options by dotted key; what has been taken is left out at the end."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.leaves = dict(_leaves(options))

    def take(self, key: str) -> Any:
        """Return a value, or None; BasicSR too takes `~` for nothing."""
        value = self.leaves.pop(key, None)
        # Nothing of the file is to be interpolated.
        return value.replace("${", "\\${") if isinstance(value, str) else value

    def carry(self, key: str, ours: str, found: Experiment) -> Any:
        """Take a value over as it is."""
        value = self.take(key)
        if value is not None:
            found.set(ours, value, key)
        return value

    def whole(self, key: str, found: Experiment, ours: str | None = None) -> int:
        """Take over a number that must be whole; BasicSR's files write 5e3 for 5000.

        Raises:
            InputError: It is none.
        """
        value = self.take(key)
        if not _is_number(value) or value != int(value):
            raise InputError(f"{key} must be a whole number, got {value}")
        found.set(ours or key, int(value), key)
        return int(value)

    def whole_if_given(self, key: str, found: Experiment, ours: str) -> None:
        if self.leaves.get(key) is not None:
            self.whole(key, found, ours)

    def left(self) -> dict[str, Any]:
        """Return what has not been taken and is needed."""
        return {
            key: value
            for key, value in self.leaves.items()
            if value is not None and not any(_matches(key, one) for one in _NEEDLESS)
        }


def _network(reader: _Reader, found: Experiment, scale: int) -> None:
    name = reader.take("network_g.type")
    if not _is_one_of(name, MODELS):
        raise InputError(
            f"network_g.type={name} is not known here; known are: {', '.join(MODELS)}; the weights "
            "of others are read by model=spandrel"
        )
    if reader.take("network_g.upscaling_factor") not in (None, scale):
        raise InputError(f"network_g.upscaling_factor must be the scale, {scale}")
    found.choices["model"] = MODELS[name]
    for upstream, ours in _ARGUMENTS.items():
        reader.carry(f"network_g.{upstream}", f"model.{ours}", found)
    kind = reader.take("network_g.attn_type")
    if _is_one_of(kind, _ATTENTION):
        found.choices["attention"] = _ATTENTION[kind]
    elif kind is not None:
        found.not_carried["network_g.attn_type"] = f"{kind}: known are {', '.join(_ATTENTION)}"
    weights = reader.take("path.pretrain_network_g")
    if weights is not None:
        found.set("init_from", weights, "path.pretrain_network_g")


def _data(reader: _Reader, found: Experiment, scale: int) -> None:
    found.choices["data"] = None
    parts = {key.split(".")[1] for key in reader.leaves if key.startswith("datasets.")}
    parts = sorted(parts, key=lambda part: (part != "train", part))
    if "train" not in parts:
        raise InputError("these are no options for training: there is no 'datasets.train'")
    found.set("data._target_", "esc_sr.data.datamodule.SRDataModule", "datasets")
    for part in parts:
        name = "train" if part == "train" else _word(reader.take(f"datasets.{part}.name") or part)
        ours = "data.train" if part == "train" else f"data.val.{name}"
        theirs = f"datasets.{part}"
        kind = reader.take(f"{theirs}.type")
        if kind != "PairedImageDataset":
            found.not_carried[f"{theirs}.type"] = (
                f"{kind}: read as pairs of images, LQ made by bicubic where there is no folder"
            )
        found.set(f"{ours}._target_", "esc_sr.data.pairs.PairedImages", theirs)
        if reader.carry(f"{theirs}.dataroot_gt", f"{ours}.gt_dir", found) is None:
            raise InputError(f"there is no {theirs}.dataroot_gt")
        found.set(f"{ours}.lq_dir", reader.take(f"{theirs}.dataroot_lq"), f"{theirs}.dataroot_lq")
        found.set(f"{ours}.scale", "${scale}", "scale")
        found.set(f"{ours}.degradation", "${degradation}", theirs)
        template = reader.take(f"{theirs}.filename_tmpl")
        if template not in (None, "{}", f"{{}}x{scale}", f"{{}}_x{scale}"):
            found.not_carried[f"{theirs}.filename_tmpl"] = (
                f"{template}: pairs are found by names such as 0001.png and 0001x{scale}.png"
            )
    if "val" not in found.settings["data"]:
        for name in ("Set5", "Set14"):
            ours = f"data.val.{name}"
            found.set(f"{ours}._target_", "esc_sr.data.benchmarks.benchmark_set", _ADDED)
            found.set(f"{ours}.root", "${paths.benchmark_dir}", _ADDED)
            found.set(f"{ours}.name", name, _ADDED)
            found.set(f"{ours}.scale", "${scale}", "scale")
            found.set(f"{ours}.degradation", "${degradation}", _ADDED)
    gt_size = reader.take("datasets.train.gt_size")
    if gt_size is not None:
        if not isinstance(gt_size, int) or gt_size % scale:
            raise InputError(f"datasets.train.gt_size={gt_size} must be a multiple of the scale")
        found.set("data.train.crop_size", gt_size // scale, "datasets.train.gt_size / scale")
    flips = [reader.take(f"datasets.train.{key}") for key in ("use_hflip", "use_rot")]
    found.set("data.train.augment", all(flips), "datasets.train.use_hflip, use_rot")
    if any(flips) and not all(flips):
        found.not_carried["datasets.train.use_hflip, use_rot"] = (
            f"{flips}: here both or none; none was taken"
        )
    reader.carry("datasets.train.batch_size_per_gpu", "data.batch_size", found)
    reader.carry("datasets.train.num_worker_per_gpu", "data.num_workers", found)
    reader.carry("datasets.train.pin_memory", "data.pin_memory", found)
    found.set("data.seed", "${seed}", "manual_seed")
    for key, theirs in {
        "batch_size": "batch_size_per_gpu",
        "num_workers": "num_worker_per_gpu",
    }.items():
        if key not in found.settings["data"]:
            raise InputError(f"there is no datasets.train.{theirs}")


def _training(reader: _Reader, found: Experiment) -> None:
    reader.carry("manual_seed", "seed", found)
    reader.carry("train.ema_decay", "ema_decay", found)
    steps = reader.whole("train.total_iter", found, "trainer.max_steps")
    reader.whole_if_given("val.val_freq", found, "trainer.val_check_interval")
    _optimizer(reader, found)
    _schedule(reader, found, steps)
    _loss(reader, found)
    devices = reader.take("num_gpu")
    if isinstance(devices, int) and devices > 1:
        found.choices["trainer"] = "ddp"
        found.set("trainer.devices", devices, "num_gpu")


def _optimizer(reader: _Reader, found: Experiment) -> None:
    kind = reader.take("train.optim_g.type")
    if not _is_one_of(kind, _OPTIMIZERS):
        raise InputError(
            f"train.optim_g.type={kind} is not known here; known are: {', '.join(_OPTIMIZERS)}"
        )
    found.choices["optimizer"] = _OPTIMIZERS[kind]
    rate = reader.carry("train.optim_g.lr", "optimizer.lr", found)
    if not _is_number(rate) or not rate > 0:
        raise InputError(f"train.optim_g.lr must be a number above 0, got {rate}")
    reader.carry("train.optim_g.betas", "optimizer.betas", found)
    decay = reader.take("train.optim_g.weight_decay")
    if kind == "AdamW" and decay is not None:
        found.set("optimizer.weight_decay", decay, "train.optim_g.weight_decay")
    elif decay:
        found.not_carried["train.optim_g.weight_decay"] = f"{decay}: take optimizer=adamw"


def _schedule(reader: _Reader, found: Experiment, steps: int) -> None:
    kind = reader.take("train.scheduler.type")
    warmup = reader.take("train.warmup_iter") or 0
    if not _is_number(warmup):
        raise InputError(f"train.warmup_iter must be a whole number, got {warmup}")
    if kind == "CosineAnnealingRestartLR" and reader.leaves.get("train.scheduler.periods") == [
        steps
    ]:
        found.choices["scheduler"] = "cosine"
        reader.take("train.scheduler.periods")
        reader.take("train.scheduler.restart_weights")
        lowest = reader.take("train.scheduler.eta_min") or 0.0
        if not _is_number(lowest):
            raise InputError(f"train.scheduler.eta_min must be a number, got {lowest}")
        rate = found.settings["optimizer"]["lr"].value
        found.set("scheduler.min_factor", lowest / rate, "train.scheduler.eta_min / optim_g.lr")
    else:
        found.choices["scheduler"] = "multistep"
        if kind in ("MultiStepLR", "MultiStepRestartLR"):
            reader.carry("train.scheduler.milestones", "scheduler.milestones", found)
            reader.carry("train.scheduler.gamma", "scheduler.gamma", found)
        else:
            found.set("scheduler.milestones", [], "train.scheduler")
            found.not_carried["train.scheduler.type"] = f"{kind}: the learning rate stays constant"
    # BasicSR writes -1 for none.
    found.set("scheduler.warmup_steps", max(int(warmup), 0), "train.warmup_iter")


def _loss(reader: _Reader, found: Experiment) -> None:
    terms = [term for term in ("pixel_opt", "fft_opt") if f"train.{term}.type" in reader.leaves]
    kinds = tuple(str(reader.take(f"train.{term}.type")) for term in terms)
    if kinds not in _LOSSES:
        known = "; ".join(" and ".join(kinds) for kinds in _LOSSES)
        raise InputError(
            f"a loss of {' and '.join(kinds) or 'nothing'} is not known; known: {known}"
        )
    found.choices["loss"] = _LOSSES[kinds]
    names = {"L1Loss": "l1", "CharbonnierLoss": "charbonnier", "FFTLoss": "fft"}
    for term, kind in zip(terms, kinds, strict=True):
        weight = reader.take(f"train.{term}.loss_weight")
        if weight is not None:
            found.set(f"loss.terms.{names[kind]}.weight", weight, f"train.{term}.loss_weight")


def _looking_on(reader: _Reader, found: Experiment, scale: int) -> None:
    reader.whole_if_given("logger.print_freq", found, "trainer.log_every_n_steps")
    loggers = ["csv"]
    if reader.take("logger.use_tb_logger"):
        loggers.append("tensorboard")
    project = reader.take("logger.wandb.project")
    if project is not None:
        loggers.append("wandb")
        found.set("logger.wandb.project", project, "logger.wandb.project")
    found.choices["logger"] = loggers
    luma = reader.take("val.metrics.psnr.test_y_channel")
    border = reader.take("val.metrics.psnr.crop_border")
    if luma is not None:
        found.choices["protocol"] = "paper" if luma else "rgb"
        found.set("monitor", f"val/psnr_{'y' if luma else 'rgb'}", "val.metrics.psnr")
        if border not in (None, scale):
            found.not_carried["val.metrics.psnr.crop_border"] = f"{border}: {scale} are cropped"


def _word(name: Any) -> str:
    """Make a key of a name."""
    return "".join(sign if sign.isalnum() else "_" for sign in str(name))


def _leaves(node: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found = []
    for key, value in node.items():
        if isinstance(value, Mapping):
            found += _leaves(value, f"{prefix}{key}.")
        else:
            found.append((f"{prefix}{key}", value))
    return found


def _matches(key: str, pattern: str) -> bool:
    """Tell whether a key is a pattern's, whose `*` is one part, or at its end all that follow."""
    parts, wanted = key.split("."), pattern.split(".")
    if wanted[-1] == "*" and len(parts) >= len(wanted):
        parts = parts[: len(wanted)]
    return len(parts) == len(wanted) and all(
        b in ("*", a) for a, b in zip(parts, wanted, strict=True)
    )


def experiment_yaml(experiment: Experiment, source: str) -> str:
    """Write an experiment as a file for `conf/experiment`, each value with where it comes from.

    Args:
        experiment: What was understood.
        source: Name of the option file.
    """
    lines = [
        "# @package _global_",
        f"# {_one_line(experiment.name)}, from {_one_line(source)} of BasicSR.",
    ]
    if experiment.not_carried:
        lines.append("# Not carried:")
        lines += [f"#   {_one_line(f'{k}={v}')}" for k, v in experiment.not_carried.items()]
    lines.append("defaults:")
    for group, choice in experiment.choices.items():
        lines.append(f"  - override /{group}: {_value(choice)}")
    return "\n".join([*lines, "", *_lines(experiment.settings)]) + "\n"


def _lines(node: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    for key, value in node.items():
        if isinstance(value, Origin):
            yield f"{indent}{key}: {_value(value.value)} # {_one_line(value.key)}"
        else:
            yield f"{indent}{key}:"
            yield from _lines(value, indent + "  ")


def _is_one_of(value: Any, known: Container[str]) -> bool:
    """Return whether a value, of any type, is one of some words."""
    return isinstance(value, str) and value in known


def _is_number(value: Any) -> bool:
    """Return whether a value is a number that can be reckoned with."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < 2**63  # false for what is infinite or no number


def _value(value: Any) -> str:
    """Write a plain value: JSON is YAML, but for numbers such as 1e-4, which need a point."""
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, float) and "e" in repr(value) and "." not in repr(value):
        return repr(value).replace("e", ".0e")
    if isinstance(value, str) and value.replace("_", "").isalnum() and not value.isdecimal():
        return value
    # Dates and the like are texts here; what is no text escapes into JSON's own notation.
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text.encode("utf-8", "backslashreplace").decode()


def _one_line(text: str) -> str:
    return printable(" ".join(text.split()))
