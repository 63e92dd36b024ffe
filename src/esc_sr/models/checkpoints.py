"""Read, adapt and write weights: the authors' `.pth`, Lightning's `.ckpt`, `.safetensors`.

Nothing is unpickled but tensors and plain containers.
"""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from esc_sr.attention import SelfAttention, attention_by_name
from esc_sr.attention.bias import bias_of_record, deduce_bias, record_of_bias
from esc_sr.attention.interface import Bias
from esc_sr.errors import InputError, first_line
from esc_sr.files import replacing
from esc_sr.layers.conv_attn import kernel_parts
from esc_sr.layers.upsampling import upsampler_of
from esc_sr.models.esc import ESC, NUM_COLORS, ESCBase, title_of
from esc_sr.models.esc_fp import ESCFP
from esc_sr.models.esc_real import ESCReal, ESCRealM
from esc_sr.models.others import in_our_names, looks_like
from esc_sr.models.packaged import find_weights, packaged_weights
from esc_sr.models.pickles import foreign_globals, is_packed

Network = type[ESC] | type[ESCFP] | type[ESCReal] | type[ESCRealM]
ARCHITECTURES: dict[str, Network] = {
    network.__name__: network for network in (ESC, ESCFP, ESCReal, ESCRealM)
}

# Where the weights lie, best first: averaged ones of BasicSR and neosr, raw ones, Lightning's.
_STATE_DICT_KEYS = ("params_ema", "params-ema", "params", "state_dict")
# What wraps the names: Lightning's module, torch.compile, DDP.
_PREFIXES = ("network.", "_orig_mod.", "module.")
# What `esc-sr export` writes beside files of weights.
PROGRAM_SUFFIXES = (".onnx", ".pt2")
_LONGEST = 80  # of a name in an error
# Settings that the shapes of weights leave open, some of them or always.
_NOT_IN_WEIGHTS = ("window_size", "num_heads", "geometric_ensemble", "dynamic_kernel")


@dataclass(frozen=True)
class Checkpoint:
    """Weights of a network and, where the file records it, the network's configuration.

    Attributes:
        path: The file read.
        state_dict: Weights under the network's own names, on the CPU, in the file's dtype.
        config: `ESCBase.config` of the network that was saved, or None.
        is_training_state: Whether the file is a Lightning checkpoint, which training can resume.
        entry: Where the weights lie in the file, such as "params_ema"; None: at the top.
        run_config: The resolved configuration of the training run, if the file records it.
        steps: Optimizer steps taken, if the file records them.
    """

    path: Path
    state_dict: dict[str, Tensor]
    config: dict[str, Any] | None
    is_training_state: bool = False
    entry: str | None = None
    run_config: dict[str, Any] | None = None
    steps: int | None = None


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read the weights of one network.

    Args:
        path: A `.safetensors` file, a Lightning `.ckpt` (its averaged weights, if it has them),
            or a `.pth`/`.pt` holding a state dict bare or under `params_ema`, `params-ema`,
            `params` or `state_dict`; or the name of packaged weights, such as "esc_tiny_x4".

    Returns:
        The weights and, if recorded, the configuration.

    Raises:
        InputError: There is no such file, it cannot be read without unpickling foreign objects,
            or it holds no weights.
    """
    path = find_weights(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder; give a file in it, such as {path}/model.safetensors")
    if not path.is_file():
        names = f"; packaged are: {', '.join(packaged_weights())}" if not path.suffix else ""
        raise InputError(f"checkpoint not found: {path}{names}")
    if path.suffix.lower() in PROGRAM_SUFFIXES:
        raise InputError(
            f"{path} is an exported program, not weights: give the checkpoint that it was made of; "
            "`esc-sr info` tells its name, and `esc-sr upscale` runs ONNX"
        )
    read = _read_safetensors if _is_safetensors(path) else _read_torch
    loaded, about = read(path)
    state_dict: dict[str, Tensor] = {}
    for name, value in loaded.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise InputError(f"no weights in {path}: entry {_short(name)} is not a tensor")
        fault = _fault_of(value)
        if fault:
            raise InputError(f"cannot use the weights in {path}: {_short(name)} {fault}")
        while name.startswith(_PREFIXES):
            name = name.split(".", 1)[1]
        if name in state_dict:
            raise InputError(
                f"cannot use the weights in {path}: there are two of the name {_short(name)}, one "
                f"behind a prefix such as {', '.join(_PREFIXES)}"
            )
        state_dict[name] = value
    if not state_dict:
        raise InputError(f"no weights in {path}: the file is empty")
    return Checkpoint(path, dict(in_our_names(state_dict)), **about)


def _fault_of(value: Tensor) -> str | None:
    """Say what is wrong with a tensor that torch can load and a network cannot take."""
    if value.is_nested or value.layout != torch.strided or value.is_quantized:
        return "is not an ordinary tensor"
    if value.is_complex():
        return "holds complex numbers"
    if value.is_meta or value.numel() * value.itemsize > value.untyped_storage().nbytes():
        return "claims more numbers than the file holds"  # a few, repeated; or none
    return None


# What both readers return: named tensors (still to be checked), and fields of `Checkpoint`.
_Loaded = tuple[Mapping[Any, Any], dict[str, Any]]


def _is_safetensors(path: Path) -> bool:
    """Tell by the name, or by the beginning: the length of a header in JSON, and the header."""
    try:
        with path.open("rb") as file:
            beginning = file.read(9)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    return path.suffix == ".safetensors" or beginning[8:] == b"{"


def _read_safetensors(path: Path) -> _Loaded:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        config = json.loads(metadata.get("config", "null"))
        return tensors, {"config": config if isinstance(config, dict) else None}
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot read {path} as safetensors: {first_line(error)}") from error


def _read_torch(path: Path) -> _Loaded:
    if is_packed(path):
        raise InputError(
            f"cannot read {path} as a checkpoint: its entries are compressed, or claim more than "
            "the file holds, which torch.save never does; unpacked they could be of any size"
        )
    try:
        with warnings.catch_warnings():
            # torch warns of pickle protocols that it reads well enough.
            warnings.simplefilter("ignore", UserWarning)
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # which one depends on where the damage lies
        foreign = next(foreign_globals(path), None)
        if foreign is not None:
            raise InputError(
                f"cannot read {path} as a checkpoint: it holds objects other than tensors, which "
                f"are never unpickled (it asks for {_short(foreign)}); save its state dict alone"
            ) from error
        raise InputError(
            f"cannot read {path} as a checkpoint: it is damaged, or no file of weights at all"
        ) from error
    if not isinstance(loaded, Mapping):
        raise InputError(f"no weights in {path}: it holds a {type(loaded).__name__}, not a dict")
    config, run_config, steps = (
        loaded.get(key) for key in ("network_config", "run_config", "global_step")
    )
    about: dict[str, Any] = {
        "config": config if isinstance(config, dict) else None,
        "run_config": run_config if isinstance(run_config, dict) else None,
        "steps": steps if isinstance(steps, int) else None,
        "is_training_state": "pytorch-lightning_version" in loaded and "optimizer_states" in loaded,
        "entry": None,
    }
    for key in _STATE_DICT_KEYS:
        if isinstance(loaded.get(key), Mapping):
            loaded, about["entry"] = loaded[key], key
            break
    if "network_config" in loaded or "pytorch-lightning_version" in loaded:
        raise InputError(f"no weights in {path}: the Lightning checkpoint has no state_dict")
    # A Lightning module also holds losses and metrics; the network is what its prefix says.
    own = {name: value for name, value in loaded.items() if str(name).startswith("network.")}
    return own or loaded, about


def deduce_config(state_dict: Mapping[str, Tensor]) -> dict[str, Any]:
    """Deduce a network's configuration from the shapes of its weights.

    Args:
        state_dict: Weights of a network of the family.

    Returns:
        The constructor's arguments but `attention`, `architecture`, `self_attention` and `bias`.
        What the weights do not tell is left out: `geometric_ensemble`, the sides of a rectangular
        window or of one with a Fourier bias, `window_size` and `num_heads` of a network without
        self-attention, `dynamic_kernel` of one without ConvAttn, and what `self_attention_only`
        makes void.

    Raises:
        InputError: The weights are those of another architecture.
    """
    state_dict = in_our_names(state_dict)
    names = state_dict.keys()
    owner, kernel = _first_large_kernel(state_dict)
    if kernel is None and "blocks.0.pconvs.0.to_qkv.weight" not in names:
        known = looks_like(names)
        raise InputError(
            "these are not the weights of an ESC or ESC-FP network: there is no 'plk_filter' and "
            f"no 'lk_spatial' among {len(names)} entries ({_some(names)})"
            + (f"; they look like {known}, see model=spandrel" if known else "")
        )
    try:
        head = _deduce_head(state_dict)
        dim = state_dict["last.weight"].shape[0]
        num_blocks = _count(names, "blocks.")
        num_conv_attn = _count(names, "blocks.0.pconvs.")
        config: dict[str, Any] = {
            **head,
            "dim": dim,
            "num_blocks": num_blocks,
            "num_conv_attn": num_conv_attn,
            "attn_ffn_ratio": _ratio(state_dict["blocks.0.proj.proj.weight"].shape[0], dim),
            "use_ln": "blocks.0.lns.0.weight" in names,
            "self_attention_only": kernel is None,
            "self_attention": kernel is None or "blocks.0.attn.to_qkv.weight" in names,
        }
        if kernel is not None:
            config["partial_dim"] = kernel.shape[0]
            config["large_kernel_size"] = kernel.shape[-1]
            config["shared_large_kernel"] = owner == ""
            if num_conv_attn or not config["self_attention"]:
                made_by = (".plk.dwc_proj.", ".plk.proj.")
                config["dynamic_kernel"] = any(part in name for name in names for part in made_by)
        if num_conv_attn:
            hidden = state_dict["blocks.0.convffns.0.proj.weight"].shape[0]
            config["ffn_ratio"] = _ratio(hidden, dim)
    except KeyError as error:
        raise InputError(f"these weights are incomplete: there is no {error}") from error
    except (IndexError, ArithmeticError) as error:  # a number, or nothing, where a filter should be
        raise InputError("these weights do not have the shapes of any ESC's") from error
    _check_amount(config, state_dict, kernel)
    if config["self_attention"]:
        found = deduce_bias(_parameters_of_attention(state_dict))
        if found is None:
            raise InputError(
                "these weights have self-attention, and none of the biases known here: there is "
                "no 'relative_position_bias' in 'blocks.0.attn'"
            )
        config["bias"] = record_of_bias(found.bias)
        config["num_heads"] = found.num_heads
        if found.window_size is not None:
            square = found.window_size[0] == found.window_size[1]
            config["window_size"] = found.window_size[0] if square else list(found.window_size)
    return config


def _check_amount(
    config: Mapping[str, Any], state_dict: Mapping[str, Tensor], kernel: Tensor | None
) -> None:
    """Refuse a few small tensors whose names and shapes ask for more memory than a machine has."""
    dim, num_blocks, num_conv_attn = (config[n] for n in ("dim", "num_blocks", "num_conv_attn"))
    attention = sum(value.numel() for value in _parameters_of_attention(state_dict).values())
    mixer = attention if config["self_attention_only"] else dim**2
    if kernel is not None and not config["shared_large_kernel"]:
        mixer += kernel.numel()
    conv_ffn, attn_ffn = (
        2 * dim * int(dim * config.get(name, 0)) for name in ("ffn_ratio", "attn_ffn_ratio")
    )
    per_block = 9 * dim**2 + attn_ffn + attention + num_conv_attn * (conv_ffn + mixer)
    least = num_blocks * per_block
    held = sum(value.numel() for value in state_dict.values())
    if least > held:
        raise InputError(
            f"these weights are incomplete: {num_blocks} blocks of {dim} channels have at least "
            f"{least:,} numbers, and there are {held:,}"
        )


def load_model(path: str | Path, *, attention: SelfAttention | str | None = None) -> ESCBase:
    """Build the network that a checkpoint holds, with its weights, in eval mode.

    Args:
        path: Any file that `read_checkpoint` reads.
        attention: Kernel of the self-attention, or its name; None: "sdpa". The bias is that of
            the weights. A network made without self-attention takes None or "conv_attn" only.

    Returns:
        The network in float32 on the CPU, mapping `(B, 3, H, W)` in [0, 1] to
        `(B, 3, s·H, s·W)`, not clamped.

    Raises:
        InputError: The file cannot be read, holds another architecture, or does not fit the
            attention asked for.

    Example:
        >>> import tempfile
        >>> network = ESC(scale=2, dim=16, partial_dim=8, num_blocks=1, num_conv_attn=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     torch.save({"params_ema": network.state_dict()}, f"{folder}/esc_x2.pth")
        ...     loaded = load_model(f"{folder}/esc_x2.pth", attention="eager")
        >>> loaded.scale, loaded.window_size
        (2, (32, 32))
    """
    return network_of(read_checkpoint(path), attention)


def network_of(checkpoint: Checkpoint, attention: SelfAttention | str | None = None) -> ESCBase:
    """Build the network that a checkpoint holds, as `load_model` does.

    Args:
        checkpoint: What was read.
        attention: As of `load_model`.

    Raises:
        InputError: As of `load_model`.
    """
    network = network_of_config(_merged_config(checkpoint), attention, source=checkpoint.path)
    load_weights(network, checkpoint.state_dict, source=str(checkpoint.path))
    return network.eval()


def network_of_config(
    config: Mapping[str, Any],
    attention: SelfAttention | str | None = None,
    *,
    source: str | Path,
) -> ESCBase:
    """Build the network that a configuration describes, with fresh weights.

    Args:
        config: As `ESCBase.config`.
        attention: As of `load_model`.
        source: The file that it is of, for messages.

    Raises:
        InputError: As of `load_model`.
    """
    path, config = source, dict(config)
    architecture = ARCHITECTURES[config.pop("architecture")]
    if config.pop("self_attention"):
        if "window_size" not in config:
            raise InputError(
                f"{path} does not record the window of its self-attention, and the weights do not "
                "tell it; save the network with esc_sr.save_model"
            )
        if attention == "conv_attn":
            raise InputError(
                f"{path} holds a network with self-attention; attention=conv_attn is another "
                "network, not another kernel for this one"
            )
        bias = bias_of_record(config.pop("bias"))
        if not isinstance(attention, SelfAttention):
            attention = attention_by_name("sdpa" if attention is None else attention)
        assert attention is not None
        try:
            attention = attention.computing_with(bias)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error
    elif attention in (None, "conv_attn"):
        attention = None
    else:
        name = attention.kernel.name if isinstance(attention, SelfAttention) else attention
        raise InputError(
            f"{path} holds a network without self-attention (made with attention=conv_attn); "
            f"attention={name} does not apply to it"
        )
    try:
        return architecture(**config, attention=attention)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _merged_config(checkpoint: Checkpoint) -> dict[str, Any]:
    """Shapes say most; what they leave open the recorded configuration adds."""
    try:
        config = deduce_config(checkpoint.state_dict)
    except InputError as error:
        raise InputError(f"{checkpoint.path}: {error}") from error
    recorded = checkpoint.config or {}
    for name in _NOT_IN_WEIGHTS:
        if isinstance(recorded.get(name), int | list):
            _check_recorded(checkpoint.path, config, name, recorded[name])
            config[name] = recorded[name]
    return config


def _check_recorded(path: Path, config: Mapping[str, Any], name: str, value: object) -> None:
    """Refuse what contradicts the weights: a network of it might not fit into any memory."""
    known = config.get(name)
    pairs = [[one] * 2 if isinstance(one, int) else one for one in (known, value)]
    if known is not None and pairs[0] != pairs[1]:
        raise InputError(
            f"{path} records {name}={_short(value)}, and its weights are those of {name}={known}"
        )


def load_weights(network: torch.nn.Module, state_dict: Mapping[str, Tensor], source: str) -> None:
    """Load weights into a network, all or nothing.

    Args:
        network: The network, changed in place.
        state_dict: Weights under the network's own names.
        source: What to call the weights in an error.

    Raises:
        InputError: Names or shapes do not fit; the message names some.
    """
    own = network.state_dict()
    if isinstance(network, ESCBase):
        _check_bias(own, state_dict, source)
    missing, unexpected = own.keys() - state_dict.keys(), state_dict.keys() - own.keys()
    misfits = [
        f"{name} is {tuple(state_dict[name].shape)}, not {tuple(own[name].shape)}"
        for name in own
        if name in state_dict and state_dict[name].shape != own[name].shape
    ]
    if missing or unexpected or misfits:
        found = [
            f"{len(group)} {kind} ({_some(group)})"
            for kind, group in (
                ("missing", missing),
                ("unexpected", unexpected),
                ("of another shape", misfits),
            )
            if group
        ]
        raise InputError(
            f"the weights of {source} are not those of this "
            f"{getattr(network, 'title', type(network).__name__)}: " + "; ".join(found)
        )
    network.load_state_dict(dict(state_dict), strict=True)


def _check_bias(own: Mapping[str, Tensor], given: Mapping[str, Tensor], source: str) -> None:
    """Refuse the weights of a network with another bias, which others might think of as its own."""
    ours = deduce_bias(_parameters_of_attention(own))
    theirs = deduce_bias(_parameters_of_attention(given))
    if ours is None or theirs is None or ours.bias == theirs.bias:
        return
    remedy = f"choose attention/bias={theirs.bias.kind} and a kernel that carries it"
    if theirs.bias.kind == ours.bias.kind:
        wanted, settings = asdict(theirs.bias), asdict(ours.bias)
        changes = (
            f"model.attention.bias.{name}={str(value).lower()}"
            for name, value in wanted.items()
            if value != settings[name]
        )
        remedy = f"set {' '.join(changes)}"
    elif theirs.bias.kind == "table" and ours.bias.kind == "fourier":
        remedy = "fit its table first, `esc-sr convert bias=fourier`, or choose attention=sdpa"
    raise InputError(
        f"{source} holds a self-attention with a {_described(theirs.bias)}, this network has a "
        f"{_described(ours.bias)}; {remedy}"
    )


def change_scale(state_dict: Mapping[str, Tensor], scale: int) -> dict[str, Tensor]:
    """Adapt weights to another scale: the warm start of ×3 and ×4 from ×2.

    The convolution before the pixel shuffle has one filter for each sub-pixel; its filters are
    resized bilinearly over the grid of sub-pixels.

    Args:
        state_dict: Weights of an ESC or ESC-FP network.
        scale: The scale wanted.

    Returns:
        A new state dict; all but `to_img` is shared with the given one.

    Source: the authors' training recipe (×3 and ×4 start from ×2).
    """
    adapted = dict(state_dict)
    for name in ("to_img.weight", "to_img.bias"):
        tensor = state_dict[name]
        old = math.isqrt(tensor.shape[0] // NUM_COLORS)
        if old == scale:
            continue
        grid = tensor.float().reshape(NUM_COLORS, old, old, -1).permute(0, 3, 1, 2)
        grid = F.interpolate(grid, size=(scale, scale), mode="bilinear", align_corners=False)
        resized = grid.permute(0, 2, 3, 1).reshape(NUM_COLORS * scale**2, *tensor.shape[1:])
        adapted[name] = resized.to(tensor.dtype)
    return adapted


def warm_start(network: ESCBase, path: str | Path) -> None:
    """Start training from the weights of the same network at any scale.

    Args:
        network: The network to be trained, changed in place.
        path: Any file that `read_checkpoint` reads.

    Raises:
        InputError: The file cannot be read, or holds another network.
    """
    checkpoint = read_checkpoint(path)
    deduced = _merged_config(checkpoint)
    _check_bias(network.state_dict(), checkpoint.state_dict, str(path))
    found = title_of(deduced)
    if found != network.title:
        raise InputError(
            f"{path} holds an {found}, not an {network.title}; "
            "init_from needs weights of the network that is trained"
        )
    weights = checkpoint.state_dict
    if deduced["scale"] != network.scale:
        if "to_img.weight" not in weights:
            raise InputError(
                f"{path} is ×{deduced['scale']}, not ×{network.scale}; {network.title} starts from "
                "weights of its own scale only"
            )
        weights = change_scale(weights, network.scale)
    load_weights(network, weights, source=str(path))


def fold_large_kernel(network: ESCBase) -> ESCBase:
    """Average the large kernel over its flips and rotations once, for deployment.

    The output stays the same to rounding, and because averaging is a projection the weights can
    still be loaded as unfolded ones, until they are trained on. A network of self-attention only
    has no such kernel and stays as it is.

    Args:
        network: The network, changed in place.

    Returns:
        The same network.
    """
    if network.geometric_ensemble:
        names = network.large_kernel_names
        for owner in network.large_kernel_owners():
            with torch.no_grad():
                owner.get_parameter(names[-1]).copy_(kernel_parts(owner, names)[-1])
            owner.geometric_ensemble = False  # pyright: ignore
        network.geometric_ensemble = network.config["geometric_ensemble"] = False
    return network


def save_model(network: ESCBase, path: str | Path) -> Path:
    """Write a network as `.safetensors` with its configuration, all or nothing.

    Args:
        network: One of the family, such as `create_model` and `load_model` return.
        path: Where to, a `.safetensors` file; its folder is made.

    Returns:
        The path written.

    Raises:
        InputError: Another network, which `load_model` could not build, or another kind of file.

    Example:
        >>> import tempfile
        >>> network = ESC(scale=3, dim=16, partial_dim=8, num_blocks=1, num_conv_attn=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = save_model(network, f"{folder}/new/mine.safetensors")
        ...     load_model(path).config == network.config
        True
    """
    config = getattr(network, "config", None)
    if not isinstance(config, dict) or config.get("architecture") not in ARCHITECTURES:
        raise InputError(
            "save_model writes networks of create_model and load_model "
            f"({', '.join(ARCHITECTURES)}), got {type(network).__name__}"
        )
    path = Path(path).expanduser()
    if path.suffix != ".safetensors":
        raise InputError(f"save_model writes a .safetensors file, got {path}")
    tensors = {name: value.detach().contiguous() for name, value in network.state_dict().items()}
    with replacing(path) as temporary:
        save_file(tensors, temporary, metadata={"config": json.dumps(config)})
    return path


def _count(names: Any, prefix: str) -> int:
    """Count the distinct numbers that follow a prefix."""
    return len({n[len(prefix) :].split(".")[0] for n in names if n.startswith(prefix)})


def _deduce_head(state_dict: Mapping[str, Tensor]) -> dict[str, Any]:
    """Tell by the head and what stands before the blocks: architecture, scale, settings of both."""
    names = state_dict.keys()
    conv = state_dict.get("to_img.weight")
    if conv is not None and conv.ndim == 4:
        is_fp = "ln_last.weight" in names
        scale = math.isqrt(conv.shape[0] // NUM_COLORS)
        return {"architecture": "ESCFP" if is_fp else "ESC", "scale": scale}
    record, stem = state_dict.get("to_img.MetaUpsample"), state_dict.get("proj.1.weight")
    if record is not None:
        upsampler = upsampler_of(record)
        factor = 1 if stem is None else math.isqrt(stem.shape[1] // NUM_COLORS)
        return {
            "architecture": "ESCRealM",
            "scale": int(record.flatten()[2]) // factor,
            "upsampler": upsampler,
            "mid_dim": int(record.flatten()[5]),
            "unshuffle": factor > 1,
        }
    if "skip.0.weight" in names and _convs_of_head(names) == {1, 4, 6, 8}:
        return {"architecture": "ESCReal", "scale": 4}
    raise InputError(
        "these weights are ESC's trunk with a head that is not known here "
        f"({_some(n for n in names if n.startswith('to_img')) or 'nothing in to_img'}), as other "
        "trainers' 'esc' may have; known are the heads of ESC, ESC-FP, ESC-Real and ESC-Real-M"
    )


def _convs_of_head(names: Iterable[str]) -> set[int]:
    found = (re.fullmatch(r"to_img\.(\d+)\.weight", name) for name in names)
    return {int(one[1]) for one in found if one}


def _first_large_kernel(state_dict: Mapping[str, Tensor]) -> tuple[str, Tensor | None]:
    """Find a large kernel: the network's, or of networks that share none the first ConvAttn's.

    Returns:
        The prefix of its names, and the parameter that has its extent; None: there is none.
    """
    for owner in ("", "blocks.0.pconvs.0.", "blocks.0.attn."):
        for names in (ESC.large_kernel_names, ESCFP.large_kernel_names):
            if all(f"{owner}{name}" in state_dict for name in names):
                return owner, state_dict[owner + names[-1]]
    return "", None


def _parameters_of_attention(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the parameters of the first self-attention under its own names."""
    prefix = "blocks.0.attn."
    return {
        n.removeprefix(prefix): value for n, value in state_dict.items() if n.startswith(prefix)
    }


def _described(bias: Bias) -> str:
    settings = ", ".join(f"{name}={value}" for name, value in asdict(bias).items())
    return f"{bias.kind} bias" + (f" ({settings})" if settings else "")


def _ratio(hidden: int, dim: int) -> float:
    """Find a ratio with `int(dim · ratio) == hidden` in spite of rounding."""
    ratio = hidden / dim
    return ratio if int(dim * ratio) == hidden else math.nextafter(ratio, math.inf)


def _some(names: Any, most: int = 3) -> str:
    listed = sorted(names)
    more = f", and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(name[:_LONGEST] for name in listed[:most]) + more


def _short(name: object) -> str:
    return repr(name) if len(repr(name)) <= _LONGEST else repr(name)[:_LONGEST] + "…"
