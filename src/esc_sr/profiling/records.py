"""What is known of a measured network: one flat record for a table or a file."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class BenchRecord:
    """Costs of one network in one setting; what could not be measured is None."""

    network: str
    """Name in `conf/model`, or of the checkpoint's file."""
    title: str
    """What tables call it."""
    checkpoint: str | None
    """Path of the weights; None: fresh ones, which change no cost."""
    weights: str | None = None
    """Digest of that file, by which quality is known to be of the same weights."""
    attention: str | None
    """Kernel of the self-attention, "conv_attn", or None where there is none to choose."""
    scale: int
    lq_size: tuple[int, int]
    """Height and width of the low-resolution image."""
    output_size: tuple[int, int]
    """Height and width asked for, which `scale` times `lq_size` covers."""
    batch_size: int
    precision: str
    compile: bool
    fast: bool = False
    """Whether it is what `for_inference` makes of the network."""
    device: str
    """"cpu", or the GPU's name."""
    device_name: str
    """The processor's or the GPU's name."""
    threads: int | None
    """CPU threads that PyTorch may use."""
    latency_ms: float | None = None
    """Median of `repeats` forward passes, after `warmup` of them."""
    latency_p10_ms: float | None = None
    latency_p90_ms: float | None = None
    warmup: int
    repeats: int
    peak_memory_mib: float | None = None
    """On a CPU the peak resident set of a fresh process above that with the network loaded; on
    a GPU the peak of the allocated tensors, the network's included."""
    memory_source: str | None = None
    """"resident_increase" or "cuda_allocated"."""
    macs_g: float | None
    """Multiply-adds in 10⁹ of one image."""
    params_k: float
    activations_m: float | None
    """Numbers in 10⁶ that the convolutions write for one image."""
    build_s: float | None = None
    """Seconds to make the network and move it to the device."""
    versions: dict[str, str | None] = field(default_factory=dict)
    error: str | None = None
    """Why there is no measurement: "out of memory: …", "refused: …" or "failed: …"."""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self).items()
        }
