"""The model card beside an exported file: what it is, what goes in and out, how it was checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from esc_sr.export.check import Check
from esc_sr.markup import markdown_code, markdown_text

_NAMES = {
    "onnx": "ONNX",
    "torch_export": "program of `torch.export`",
    "safetensors": "weights, safetensors",
    "pth": "weights, PyTorch",
}
_USE = {
    "onnx": """\
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession({name})
lq = np.zeros({shape}, dtype=np.{dtype})  # RGB in [0, 1]
(sr,) = session.run(None, {{"lq": lq}})  # not clamped""",
    "torch_export": """\
import torch

network = torch.export.load({name}).module()
lq = torch.zeros({shape})  # RGB in [0, 1]
sr = network(lq)  # not clamped""",
    "safetensors": """\
import esc_sr
import torch

network = esc_sr.load_model({name})
sr = network(torch.zeros({shape}))  # RGB in [0, 1]; not clamped""",
    "pth": """\
import torch

state_dict = torch.load({name}, weights_only=True)["params_ema"]""",
}


def model_card(
    path: Path, format: str, metadata: Mapping[str, str], check: Check, *, settings: str
) -> str:
    """Write the card of an exported file.

    Args:
        path: The file.
        format: "onnx", "torch_export", "safetensors" or "pth".
        metadata: What the file says of itself.
        check: How it was compared with the network.
        settings: What was chosen for the format, such as the opset.

    Returns:
        Markdown, with the fields that model hubs read in front.
    """
    scale = metadata["scale"]
    fixed = metadata["lq_size"] != "any"
    first = check.cases[0].size
    shape = (first[0], 3, *first[1:]) if fixed else (1, 3, 45, 80)
    dtype = metadata.get("input_type", "float32")
    license = metadata.get("license")
    text = [
        "---",
        *([f"license: {_yaml(license)}"] if license else []),
        "pipeline_tag: image-to-image",
        "tags: [super-resolution]",
        "---",
        "",
        f"# {markdown_text(path.name)}",
        "",
        f"{markdown_text(metadata['title'])} for super-resolution ×{scale}: "
        f"{_NAMES[format]}, {settings}.",
        "",
        "| | |",
        "|---|---|",
        f"| input | `(B, 3, H, W)`, RGB in [0, 1], sRGB, {dtype}; {_sizes(metadata, first)} |",
        f"| output | `(B, 3, {scale}·H, {scale}·W)`, the same range, not clamped |",
        f"| weights | {markdown_text(metadata['precision'])} |",
        f"| licence | {markdown_text(license or 'not known: ask whoever trained the weights')} |",
        f"| made of | {markdown_code(metadata.get('source', 'a network in memory'))}"
        + (f", SHA-256 {metadata['source_digest']}… |" if "source_digest" in metadata else " |"),
        f"| made by | esc_sr {markdown_text(metadata['esc_sr_version'])} |",
        "",
        "Images are stored values divided by 255 (or 65535), without linearisation. "
        "Of grey images repeat the channel.",
        "",
        "## Use",
        "",
        "```python",
        _USE[format].format(name=_literal(path.name), shape=shape, dtype=dtype),
        "```",
        "",
        "## Checked",
        "",
        "The file was read back, and its output compared with that of the network in PyTorch, in "
        "float32, on random images:",
        "",
        "| input | largest error |",
        "|---|--:|",
        *(f"| {case} | {case.max_error:.1e} |" for case in check.cases),
        "",
        f"Allowed were {check.tolerance:g}; a level of 8 bits is 3.9e-3.",
    ]
    if "config" in metadata:
        config = json.dumps(json.loads(metadata["config"]), indent=2)
        text += ["", "## Configuration", "", "```json", config, "```"]
    return "\n".join(text) + "\n"


def _yaml(text: str) -> str:
    """Write a text in YAML, also for readers of Markdown that know no fields in front."""
    return json.dumps(text).replace("<", "\\u003c")


def _literal(text: str) -> str:
    """Write a text in Python, in one line."""
    return json.dumps(text, ensure_ascii=False) if text.isprintable() else repr(text)


def _sizes(metadata: Mapping[str, str], first: tuple[int, int, int]) -> str:
    if metadata["lq_size"] == "any":
        return "any B, H and W"
    return f"only B = {first[0]}, H = {first[1]}, W = {first[2]}"
