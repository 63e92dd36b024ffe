"""What exported programs are: ONNX files, ours and others', and programs of `torch.export`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from esc_sr.errors import InputError, MissingExtraError, first_line
from esc_sr.export.torch_program import read_metadata
from esc_sr.inference.onnx_model import OnnxModel, read_onnx
from esc_sr.inference.onnx_network import OnnxNetwork
from esc_sr.models.checkpoints import network_of_config
from esc_sr.models.esc import ESCBase
from esc_sr.tasks.info_networks import facts_of

_MOST_BLOCKS = 10_000  # of a network that is built to be counted: a file may say anything


def describe_program(path: Path) -> dict[str, Any]:
    """Return what is known of an exported program, by what its file says.

    Nothing is computed, but for the scale of an ONNX file of others, if onnxruntime is installed.

    Args:
        path: An `.onnx` or `.pt2` file.

    Returns:
        Plain values by name, None where nothing is known.

    Raises:
        MissingExtraError: It is an ONNX file, and the package onnx is not installed.
        InputError: It cannot be read, or is a `.pt2` that `esc-sr export` has not written.
    """
    if path.suffix.lower() == ".onnx":
        model = read_onnx(path)
        if _is_ours(model.metadata):
            facts = _exported_facts(path, "ONNX", model.metadata)
            facts["parameters"] = facts["parameters"] or model.parameters
        else:
            kind = "ONNX program" + (f" of {model.producer}" if model.producer else "")
            facts = {"kind": kind, **_measured(model), "parameters": model.parameters}
        facts |= _onnx_facts(model)
    else:
        told = read_metadata(path)
        if not _is_ours(told):
            raise InputError(
                f"{path} does not say what it is: it was not written by `esc-sr export`"
            )
        facts = _exported_facts(path, "torch.export", told)
    size_mib = round(path.stat().st_size / 2**20, 2)
    return {"file": str(path), "kind": facts.pop("kind"), "size_mib": size_mib, **facts}


def _is_ours(told: Mapping[str, str]) -> bool:
    return {"esc_sr_version", "architecture", "scale", "lq_size", "precision"} <= told.keys()


def _exported_facts(path: Path, format: str, told: Mapping[str, str]) -> dict[str, Any]:
    """Say what `export.metadata` has written into a file."""
    try:
        lq_size = json.loads(told["lq_size"]) if told["lq_size"] != "any" else None
        network = _network(path, json.loads(told["config"])) if "config" in told else None
        window = json.loads(told.get("window_size", "null"))
        facts: dict[str, Any] = {"network": told.get("title", told["architecture"])}
        facts |= {"variant": None, "scale": int(told["scale"]), "parameters": None}
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path} says of itself what is not understood: {first_line(error)}"
        ) from error
    if network is None:
        facts["window_size"] = window
    else:  # whose kernels have been folded, which makes no other network of it
        facts |= facts_of(network, leave_out={"geometric_ensemble"})
    made_of = [told[key] for key in ("source", "source_digest") if key in told]
    return {
        "kind": f"{format} program, written by esc_sr {told['esc_sr_version']}",
        **facts,
        "kernels": None,  # it has been chosen
        "dtype": told["precision"],
        "takes": "any size" if lq_size is None else f"images of {_text_of_size(lq_size)} only",
        "images": ", ".join(
            told[key] for key in ("layout", "channels", "value_range", "color_space") if key in told
        ),
        "license": told.get("license"),
        "made_of": ", SHA-256 ".join(made_of) or None,
    }


def _text_of_size(lq_size: Any) -> str:
    return "×".join(map(str, lq_size)) if isinstance(lq_size, list) else str(lq_size)


def _network(path: Path, config: Any) -> ESCBase:
    """Build the network of a file's configuration without weights, to be counted.

    Raises:
        ValueError: There can be no such network.
    """
    if not isinstance(config, dict):
        raise ValueError("its config is no mapping")
    blocks, mixers = config.get("num_blocks"), config.get("num_conv_attn")
    if not (isinstance(blocks, int) and isinstance(mixers, int)) or (
        blocks * (mixers + 1) > _MOST_BLOCKS
    ):
        raise ValueError(f"its config has num_blocks={blocks}, num_conv_attn={mixers}")
    try:
        with torch.device("meta"):
            return network_of_config(config, source=path)
    except InputError:
        raise
    except Exception as error:  # a file may say anything of any type
        raise ValueError(f"its config is of no network ({first_line(error)})") from error


def _onnx_facts(model: OnnxModel) -> dict[str, Any]:
    return {
        "opset": model.opsets.get("") or model.opsets.get("ai.onnx"),
        "operators": model.num_nodes,
        "other_operators": list(model.foreign_operators) or None,
        "inputs": [str(port) for port in model.inputs],
        "outputs": [str(port) for port in model.outputs],
    }


def _measured(model: OnnxModel) -> dict[str, Any]:
    """Say by how much a program of others enlarges, or why `esc-sr upscale` does not take it."""
    facts: dict[str, Any] = {"scale": None, "upscale": None}
    if model.interface_problem is not None:
        return facts | {"upscale": f"cannot run it: {model.interface_problem}"}
    try:
        return facts | {"scale": OnnxNetwork(model.path).scale}
    except MissingExtraError as error:
        return facts | {"upscale": f"the scale was not measured: {error}"}
    except InputError as error:
        return facts | {"upscale": f"cannot run it: {error}"}
