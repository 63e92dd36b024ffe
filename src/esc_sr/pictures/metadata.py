"""What a picture file holds beside its pixels."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from esc_sr.pictures.exif import tiff_exif, upright_exif
from esc_sr.pictures.libvips import vips
from esc_sr.pictures.png_text import png_texts

TURNED = (5, 6, 7, 8)  # EXIF orientations that exchange height and width
_CARRIED = ("icc-profile-data", "xmp-data", "iptc-data", "resolution-unit")
# Pixels per millimetre: 72 per inch, and the other number that stands for none.
USUAL_RESOLUTION = 72 / 25.4
_NO_RESOLUTION = 1.0


@dataclass(frozen=True)
class Metadata:
    """Colour profile, EXIF, XMP, IPTC, resolution, texts (PNG) of a file; see `write_picture`."""

    fields: dict[str, tuple[int, Any]] = field(default_factory=dict)
    resolution: tuple[float, float] | None = None
    texts: bytes = b""


def metadata_of(image: Any, path: Path, kind: str) -> Metadata:
    """Return what is to be carried over, made true for an upright picture."""
    fields = fields_of(image, (*_CARRIED, "exif-data"))
    blob = vips().GValue.blob_type
    exif = tiff_exif(path) if kind == "TIFF" else None
    if "exif-data" in fields:
        exif = upright_exif(fields.pop("exif-data")[1])
    if exif:
        fields["exif-data"] = blob, exif
    if "xmp-data" in fields and image.get_typeof("orientation"):
        turned = re.sub(
            rb"(tiff:Orientation\s*(?:=\s*[\"']|>)\s*)[2-8]", rb"\g<1>1", fields["xmp-data"][1]
        )
        fields["xmp-data"] = blob, turned
    resolution = image.xres, image.yres
    if field_of(image, "orientation", 1) in TURNED:
        resolution = resolution[::-1]
    # Where a file says nothing libvips says one or the other.
    usual = () if "resolution-unit" in fields else (USUAL_RESOLUTION,)
    said = not any(np.allclose(resolution, value, rtol=1e-3) for value in (_NO_RESOLUTION, *usual))
    texts = png_texts(path) if kind == "PNG" else b""
    return Metadata(fields, resolution if said else None, texts)


def field_of(image: Any, name: str, default: Any) -> Any:
    """Return a field of a libvips image, or the default where it has none."""
    return image.get(name) if image.get_typeof(name) else default


def fields_of(image: Any, names: Iterable[str]) -> dict[str, tuple[int, Any]]:
    """Return those of the named fields that a libvips image has, each with its type."""
    return {
        name: (image.get_typeof(name), image.get(name)) for name in names if image.get_typeof(name)
    }
