"""Weights that other programs have written: ours by another name, or of another architecture."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from esc_sr.layers.dysample import NUM_GROUPS
from esc_sr.layers.upsampling import record_of

_HEAD = "to_img."

# A name that only this architecture's checkpoints have, as they are commonly published.
_TELLTALES = {
    "HAT": r"layers\.0\.residual_group\.blocks\.0\.conv_block\.",
    "SwinIR or one derived from it": r"layers\.0\.residual_group\.blocks\.0\.",
    "Real-ESRGAN's RRDBNet": r"body\.0\.rdb1\.conv1\.",
    "ESRGAN's RRDBNet": r"(RRDB_trunk\.0|model\.1\.sub\.0)\.RDB1\.conv1\.",
    "RCAN": r"body\.0\.body\.0\.body\.0\.",
    "EDSR": r"body\.0\.body\.0\.weight",
    "SPAN": r"block_1\.c1_r\.",
    "PLKSR or RealPLKSR": r"feats\.1\.(lk|channe_mixer|channel_mixer)\.",
    "RDN": r"(RDBs|rdbs)\.0\.",
}


def in_our_names(state_dict: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return weights under the names of our networks, where only the names are others'.

    The head of neosr's `esc` and of the authors' ESC-Real with `use_dysample` is a DySample and
    not a sequence of one, and records nothing: both are ESC-Real-M with `upsampler="dysample"`.

    Args:
        state_dict: Weights of any network, by name.

    Returns:
        The same weights; the given mapping itself if nothing is to be renamed.
    """
    offset = state_dict.get(_HEAD + "offset.weight")
    if not isinstance(offset, Tensor) or offset.ndim != 4:
        return state_dict
    scale, dim = math.isqrt(offset.shape[0] // (2 * NUM_GROUPS)), offset.shape[1]
    record = record_of("dysample", scale=scale, dim=dim, mid_dim=dim)
    if max(record) > torch.iinfo(torch.uint8).max:
        return state_dict
    ours = {
        f"{_HEAD}0.{name.removeprefix(_HEAD)}" if name.startswith(_HEAD) else name: value
        for name, value in state_dict.items()
    }
    return ours | {_HEAD + "MetaUpsample": torch.tensor(record, dtype=torch.uint8)}


def looks_like(names: Iterable[str]) -> str | None:
    """Tell a well-known architecture by the names of its weights.

    Args:
        names: Names of weights.

    Returns:
        What it is called, None if it is none of a few.

    Example:
        >>> looks_like(["conv_first.weight", "body.0.rdb1.conv1.weight"])
        "Real-ESRGAN's RRDBNet"
    """
    names = list(names)
    for title, telltale in _TELLTALES.items():
        if any(re.match(telltale, name) for name in names):
            return title
    return None
