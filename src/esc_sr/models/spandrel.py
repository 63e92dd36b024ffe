"""Networks of other architectures, through spandrel."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from esc_sr.errors import InputError, require_extra
from esc_sr.models.pickles import is_packed


class SpandrelNetwork(nn.Module):
    """A super-resolution network of any architecture that spandrel knows, with its weights.

    Args:
        path: The checkpoint; spandrel finds out which architecture it is of, and unpickles only
            what is safe.
        scale: Super-resolution factor that it must have; None: its own.

    Attributes:
        scale: Its super-resolution factor.
        title: Name of its architecture.

    Raises:
        MissingExtraError: spandrel is not installed.
        InputError: There is no such file, spandrel does not know it, it is no network for RGB
            images, or of another scale.
    """

    def __init__(self, *, path: str | Path, scale: int | None = None) -> None:
        super().__init__()
        spandrel = require_extra("spandrel", "spandrel")
        path = Path(path).expanduser()
        if not path.is_file():
            raise InputError(f"checkpoint not found: {path}")
        if is_packed(path):
            raise InputError(f"cannot read {path}: its entries are compressed, or claim too much")
        try:
            descriptor = spandrel.ModelLoader(device="cpu").load_from_file(path)
        except Exception as error:  # whatever a file makes it raise
            reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
            raise InputError(f"spandrel cannot read {path}: {reason}") from error
        if not isinstance(descriptor, spandrel.ImageModelDescriptor):
            raise InputError(f"{path} holds no network from one image to one image")
        if (descriptor.input_channels, descriptor.output_channels) != (3, 3):
            raise InputError(
                f"{path} holds a network from {descriptor.input_channels} to "
                f"{descriptor.output_channels} channels; only RGB to RGB is measured"
            )
        if scale is not None and descriptor.scale != scale:
            raise InputError(
                f"{path} enlarges ×{descriptor.scale}, scale={scale} was asked for; "
                f"set scale={descriptor.scale}"
            )
        self.scale: int = descriptor.scale
        self.title: str = descriptor.architecture.name
        self.network: nn.Module = descriptor.model
        self._descriptor = descriptor

    def forward(self, lq: Tensor) -> Tensor:
        """Enlarge images.

        Args:
            lq: `(B, 3, H, W)` in [0, 1]; padded by spandrel to what the architecture needs.

        Returns:
            `(B, 3, s·H, s·W)`, clamped to [0, 1] by spandrel.
        """
        return self._descriptor(lq)
