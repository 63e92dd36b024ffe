import io
import os
import resource
import struct
import zlib
from contextlib import contextmanager, suppress
from unittest import mock

import numpy as np
import pytest
import pyvips
from PIL import Image, ImageCms, ImageOps, PngImagePlugin, TiffImagePlugin

from esc_sr.errors import InputError
from esc_sr.pictures import writing
from esc_sr.pictures.metadata import Metadata
from esc_sr.pictures.reading import UnreadablePictureError, picture_header, read_picture
from esc_sr.pictures.writing import check_writable, write_picture
from esc_sr.profiling.memory import PeakMemory

HEIGHT, WIDTH = 6, 9
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def noise(channels, bits=8, height=HEIGHT, width=WIDTH):
    rng = np.random.default_rng(channels + bits)
    return rng.integers(0, 2**bits, (height, width, channels)).astype(f"uint{bits}")


def smooth(height=48, width=32, channels=3):
    """Nothing that JPEG has to blur, and another picture when turned or mirrored."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    planes = [x * 200 + 20, y * 220 + 10, (x + y) * 100 + 30]
    return np.stack(planes[:channels], -1).astype(np.uint8)


def pillow(pixels):
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def psnr(a, b):
    return 10 * np.log10(255**2 / max(np.square(a.astype(float) - b).mean(), 1e-9))


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(pixels):
    """Write a PNG without any library: 8 or 16 bits, 1 to 4 channels."""
    height, width, channels = pixels.shape
    kind = {1: 0, 3: 2, 2: 4, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 8 * pixels.itemsize, kind, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(pixels.dtype.newbyteorder(">")).tobytes() for row in pixels)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + data


def tiff(pixels, order="<", photometric=None, sample_format=1, bits=None):
    """Write a TIFF without any library: one strip, no compression, either byte order."""
    height, width, channels = pixels.shape
    data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    bits = [bits or 8 * pixels.itemsize] * channels
    if photometric is None:
        photometric = 2 if channels > 2 else 1
    extra = {2: 1, 4: 1}.get(channels, 0) if photometric < 5 else 0
    tags = {
        256: [width],
        257: [height],
        258: bits,
        259: [1],
        262: [photometric],
        277: [channels],
        278: [height],
        279: [len(data)],
        339: [sample_format] * channels,
    } | ({338: [2]} if extra else {})
    values = b""
    entries = []
    begin = 8 + 2 + 12 * (len(tags) + 1) + 4
    for tag, numbers in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(numbers)}H", *numbers)
        if len(packed) > 4:
            where = struct.pack(f"{order}I", begin + len(values))
            values += packed
        else:
            where = packed.ljust(4, b"\0")
        entries.append((tag, struct.pack(f"{order}HHI", tag, 3, len(numbers)) + where))
    strip = struct.pack(f"{order}HHII", 273, 4, 1, begin + len(values))
    entries = sorted([*entries, (273, strip)])
    mark = {"<": b"II", ">": b"MM"}[order]
    head = mark + struct.pack(f"{order}HI", 42, 8) + struct.pack(f"{order}H", len(entries))
    return head + b"".join(entry for _, entry in entries) + b"\0" * 4 + values + data


def bmp(width, height, bits, data=b"", header=40, palette=b""):
    """Write a BMP without any library; a header of 108 bytes has a mask for alpha."""
    start = 14 + header + len(palette)
    info = struct.pack(
        "<IiiHHIIiiII",
        *(header, width, height, 1, bits, 3 if header == 108 else 0),
        *(len(data), 0, 0, len(palette) // 4, 0),
    )
    if header == 108:
        info += struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + b"BGRs" + bytes(48)
    return b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start) + info + palette + data


def encoded(image, format, **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def put(path, data):
    path.write_bytes(data)
    return path


def bgra_bmp():
    pixels = noise(4)
    return bmp(WIDTH, HEIGHT, 32, pixels[::-1, :, [2, 1, 0, 3]].tobytes(), header=108), pixels


def palette_png(alpha):
    indexed = pillow(noise(3)).quantize(8)
    options = {"transparency": bytes([0, 90] + [255] * 6)} if alpha else {}
    data = encoded(indexed, "PNG", **options)
    return data, np.asarray(Image.open(io.BytesIO(data)).convert("RGBA" if alpha else "RGB"))


def one_bit(format):
    image = pillow(noise(1)).convert("1")
    return encoded(image, format), np.asarray(image.convert("L"))[..., None]


# What is read, the format, and the pixels that it must give bit for bit.
EXACT = {
    **{
        f"png-{channels}x{bits}": (png(noise(channels, bits)), "PNG", noise(channels, bits))
        for channels in (1, 2, 3, 4)
        for bits in (8, 16)
    },
    **{
        f"tiff-{name}-{channels}x{bits}": (
            tiff(noise(channels, bits), order),
            "TIFF",
            noise(channels, bits),
        )
        for order, name in (("<", "little"), (">", "big"))
        for channels in (1, 2, 3, 4)
        for bits in (8, 16)
    },
    "tiff-white-is-zero": (tiff(255 - noise(1), photometric=0), "TIFF", noise(1)),
    "tiff-white-is-zero-16": (tiff(65535 - noise(1, 16), photometric=0), "TIFF", noise(1, 16)),
    "tiff-deflate": (
        encoded(pillow(noise(3)), "TIFF", compression="tiff_adobe_deflate"),
        "TIFF",
        noise(3),
    ),
    "tiff-palette": (
        encoded(pillow(smooth()).quantize(8), "TIFF"),
        "TIFF",
        np.asarray(pillow(smooth()).quantize(8).convert("RGB")),
    ),
    "tiff-1-bit": (*one_bit("TIFF")[:1], "TIFF", one_bit("TIFF")[1]),
    "png-palette": (palette_png(False)[0], "PNG", palette_png(False)[1]),
    "png-palette-transparent": (palette_png(True)[0], "PNG", palette_png(True)[1]),
    "png-grey-with-a-transparent-level": (
        encoded(pillow(noise(1)), "PNG", transparency=int(noise(1)[0, 0, 0])),
        "PNG",
        np.dstack([noise(1), np.where(noise(1) == noise(1)[0, 0, 0], 0, 255).astype(np.uint8)]),
    ),
    "png-1-bit": (one_bit("PNG")[0], "PNG", one_bit("PNG")[1]),
    "bmp-1-bit": (one_bit("BMP")[0], "BMP", one_bit("BMP")[1]),
    "bmp-grey": (encoded(pillow(noise(1)), "BMP"), "BMP", noise(1)),
    "bmp-rgb": (encoded(pillow(noise(3)), "BMP"), "BMP", noise(3)),
    "bmp-rgba": (bgra_bmp()[0], "BMP", bgra_bmp()[1]),
    "bmp-palette": (
        encoded(pillow(smooth()).quantize(8), "BMP"),
        "BMP",
        np.asarray(pillow(smooth()).quantize(8).convert("RGB")),
    ),
    "webp-rgb": (encoded(pillow(noise(3)), "WEBP", lossless=True), "WebP", noise(3)),
    "webp-rgba": (encoded(pillow(noise(4)), "WEBP", lossless=True, exact=True), "WebP", noise(4)),
    "gif": (
        encoded(pillow(smooth()).quantize(8), "GIF"),
        "GIF",
        np.asarray(pillow(smooth()).quantize(8).convert("RGB")),
    ),
    "1x1": (png(noise(3, height=1, width=1)), "PNG", noise(3, height=1, width=1)),
    "3x500": (png(noise(3, height=3, width=500)), "PNG", noise(3, height=3, width=500)),
    "500x3": (bmp(3, 500, 24, bytes(12 * 500)), "BMP", np.zeros((500, 3, 3), np.uint8)),
}


@pytest.mark.parametrize("name", EXACT)
def test_a_picture_is_read_bit_for_bit_as_its_header_says(name, tmp_path):
    data, kind, expected = EXACT[name]
    # The name is not to matter, not even one that libvips would take for options.
    path = put(tmp_path / "a picture[1]", data)
    picture = read_picture(path)
    assert picture.format == kind
    assert picture.notes == ()
    assert picture.pixels.dtype == expected.dtype
    np.testing.assert_array_equal(picture.pixels, expected)
    header = picture_header(path)
    assert (header.height, header.width, header.channels) == expected.shape
    assert header.bits == 8 * expected.itemsize
    assert (header.format, header.frames) == (kind, 1)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("suffix", [".png", ".PNG", ".tif", ".tiff"])
def test_png_and_tiff_keep_every_bit(suffix, channels, bits, tmp_path):
    pixels = noise(channels, bits)
    assert write_picture(tmp_path / f"a{suffix}", pixels) == ()
    np.testing.assert_array_equal(read_picture(tmp_path / f"a{suffix}").pixels, pixels)


@pytest.mark.parametrize("channels", [1, 3])
def test_bmp_keeps_every_bit_of_eight(channels, tmp_path):
    assert write_picture(tmp_path / "a.bmp", noise(channels)) == ()
    np.testing.assert_array_equal(read_picture(tmp_path / "a.bmp").pixels, noise(channels))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_lossless_webp_keeps_colours_even_where_they_are_transparent(channels, tmp_path):
    """libvips otherwise blackens what is transparent, and lossless was not without loss."""
    pixels = noise(channels)
    if channels in (2, 4):
        pixels[: HEIGHT // 2, :, -1] = 0
    write_picture(tmp_path / "a.webp", pixels, lossless=True)
    read = read_picture(tmp_path / "a.webp").pixels
    assert read.shape[-1] == (3 if channels in (1, 3) else 4)  # WebP has no grey
    colors = read[..., :1] if channels < 3 else read[..., :3]
    np.testing.assert_array_equal(colors, pixels[..., : colors.shape[-1]])
    if channels in (2, 4):
        np.testing.assert_array_equal(read[..., -1], pixels[..., -1])


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".webp"])
def test_lossy_formats_stay_close_and_follow_the_quality(suffix, tmp_path):
    pixels = noise(3, height=64, width=64) // 4 + smooth(64, 64) // 2
    sizes = {}
    for quality in (None, 95, 20):
        path = tmp_path / f"{quality}{suffix}"
        write_picture(path, pixels, quality=quality)
        sizes[quality] = path.stat().st_size
    assert sizes[None] == sizes[95] > 2 * sizes[20]
    write_picture(tmp_path / f"smooth{suffix}", smooth())
    assert psnr(read_picture(tmp_path / f"smooth{suffix}").pixels, smooth()) > 38
    write_picture(tmp_path / f"grey{suffix}", smooth(channels=1))
    assert psnr(read_picture(tmp_path / f"grey{suffix}").pixels, smooth(channels=1)) > 38


def test_jpeg_keeps_the_full_resolution_of_colours(tmp_path):
    stripes = np.zeros((16, 16, 3), np.uint8)
    stripes[:, ::2, 0] = 255
    stripes[:, 1::2, 2] = 255
    write_picture(tmp_path / "a.jpg", stripes)
    assert psnr(read_picture(tmp_path / "a.jpg").pixels, stripes) > 25


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".bmp"])
def test_sixteen_bits_are_rounded_to_eight_with_a_note(suffix, tmp_path):
    pixels = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    (note,) = write_picture(tmp_path / f"a{suffix}", pixels, lossless=True, quality=100)
    assert "8 bits" in note
    expected = np.round(pixels / 257).astype(int)
    read = read_picture(tmp_path / f"a{suffix}").pixels[..., :1]
    assert np.abs(read - expected).max() <= (1 if suffix == ".jpg" else 0)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("suffix", [".jpg", ".bmp"])
def test_white_shines_through_where_a_format_has_no_alpha(suffix, channels, bits, tmp_path):
    largest = 2**bits - 1
    pixels = np.zeros((48, 16, channels), f"uint{bits}")
    pixels[16:32, ..., -1] = largest // 2
    pixels[32:, ..., -1] = largest
    notes = write_picture(tmp_path / f"a{suffix}", pixels)
    assert "white" in notes[0]
    assert len(notes) == bits // 8
    read = read_picture(tmp_path / f"a{suffix}").pixels.astype(int)
    assert read.shape[-1] == channels - 1
    for rows, level in ((slice(0, 16), 255), (slice(16, 32), 128), (slice(32, 48), 0)):
        assert np.abs(read[rows] - level).max() <= 1


ORIENTATION, ARTIST, DATE = 0x0112, 0x013B, 0x0132
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
    'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="{}" tiff:Artist="Zoë"/>'
    "</rdf:RDF></x:xmpmeta>"
)
FORMATS = ["png", "jpg", "tif", "webp"]


def exif(orientation=1):
    block = Image.Exif()
    block[ORIENTATION] = orientation
    block[ARTIST] = "Zoë".encode("latin-1")
    block[DATE] = "2021:02:03 04:05:06"
    block.get_ifd(0x8769)[0x9003] = "2020:01:02 03:04:05"
    block.get_ifd(0x8769)[0x829A] = 0.01
    block.get_ifd(0x8769)[0x927C] = bytes(range(256))
    block.get_ifd(0x8825)[1] = "N"
    block.get_ifd(0x8825)[2] = (51.0, 30.0, 12.5)
    return block


def with_metadata(path, pixels, orientation=1):
    """Write with Pillow a picture with all the metadata that the format can hold."""
    xmp = XMP.format(orientation)
    options = {"icc_profile": SRGB, "exif": exif(orientation)}
    if path.suffix == ".png":
        text = PngImagePlugin.PngInfo()
        text.add_itxt("XML:com.adobe.xmp", xmp)
        text.add_text("Title", "Häuser")
        text.add_itxt("Description", "日本", lang="ja", tkey="概要", zip=True)
        text.add_text("Comment", "long " * 99, zip=True)
        options |= {"pnginfo": text, "dpi": (300, 300)}
    elif path.suffix == ".tif":
        block = options.pop("exif")
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        tags[700] = xmp.encode()
        for tag in (ORIENTATION, ARTIST, DATE):
            tags[tag] = block[tag]
        tags[0x8769], tags[0x8825] = block.get_ifd(0x8769), block.get_ifd(0x8825)
        options |= {"tiffinfo": tags, "dpi": (300, 300)}
    elif path.suffix == ".webp":
        options |= {"xmp": xmp.encode(), "lossless": True}
    else:
        options |= {"xmp": xmp.encode(), "dpi": (300, 300), "quality": 98}
    pillow(pixels).save(path, **options)
    return path


def xmp_of(image):
    found = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp", "").encode()
    return found.decode()


@pytest.mark.parametrize("target", FORMATS)
@pytest.mark.parametrize("source", FORMATS)
def test_profile_exif_xmp_and_resolution_are_kept(source, target, tmp_path):
    """libvips neither reads nor writes EXIF in TIFF; `esc_sr.pictures.exif` does."""
    picture = read_picture(with_metadata(tmp_path / f"source.{source}", smooth()))
    enlarged = picture.pixels.repeat(2, 0).repeat(2, 1)
    path = tmp_path / f"target.{target}"
    notes = write_picture(path, enlarged, metadata=picture.metadata)
    assert len(notes) == (source == "png" and target != "png")  # its texts
    with Image.open(path) as image:
        image.load()
        found = image.getexif()
        details, place = found.get_ifd(0x8769), found.get_ifd(0x8825)
        assert image.size == (64, 96)
        assert image.info["icc_profile"] == SRGB
        assert xmp_of(image) == XMP.format(1)
        if source != "webp" and target != "webp":
            assert image.info["dpi"] == pytest.approx((300, 300), rel=1e-4)
    assert found[ARTIST] == "Zoë"
    assert found[DATE] == "2021:02:03 04:05:06"
    assert details[0x9003] == "2020:01:02 03:04:05"
    assert details[0x829A] == pytest.approx(0.01)
    assert details[0x927C] == bytes(range(256))
    assert place == {1: "N", 2: (51.0, 30.0, 12.5)}
    # What is written can be read again and says the same once more.
    assert read_picture(path).metadata.fields.keys() >= {"exif-data", "xmp-data"}


@pytest.mark.parametrize("big", [False, True])
def test_exif_is_added_to_tiff_files_of_either_size_without_touching_pixels(
    big, tmp_path, monkeypatch
):
    monkeypatch.setattr(writing, "_BIGTIFF_FROM", 0 if big else 10**9)
    picture = read_picture(with_metadata(tmp_path / "a.jpg", smooth()))
    pixels = noise(4, 16, height=300, width=301)
    write_picture(tmp_path / "a.tif", pixels, metadata=picture.metadata)
    assert (tmp_path / "a.tif").read_bytes()[2] == (43 if big else 42)
    again = read_picture(tmp_path / "a.tif")
    np.testing.assert_array_equal(again.pixels, pixels)
    assert again.metadata.fields["exif-data"][1].count(b"Zo\xeb") == 1
    assert again.notes == ()


@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_of_either_byte_order_arrives(order, tmp_path):
    block = exif()
    block.endian = order
    data = encoded(pillow(smooth()), "JPEG", exif=block.tobytes())
    picture = read_picture(put(tmp_path / "a.jpg", data))
    for suffix in FORMATS:
        write_picture(tmp_path / f"b.{suffix}", picture.pixels, metadata=picture.metadata)
        with Image.open(tmp_path / f"b.{suffix}") as image:
            assert image.getexif().get_ifd(0x8769)[0x829A] == pytest.approx(0.01)
            assert image.getexif().get_ifd(0x8825)[2] == (51.0, 30.0, 12.5)


def test_texts_of_a_png_are_kept_in_a_png(tmp_path):
    """libvips takes Latin-1 and UTF-8 for each other and leaves question marks."""
    picture = read_picture(with_metadata(tmp_path / "a.png", smooth()))
    write_picture(tmp_path / "b.png", picture.pixels, metadata=picture.metadata)
    with Image.open(tmp_path / "b.png") as image:
        image.load()
        texts = {**image.text}
    assert texts.pop("XML:com.adobe.xmp") == XMP.format(1)
    assert texts == {"Title": "Häuser", "Description": "日本", "Comment": "long " * 99}
    assert read_picture(tmp_path / "b.png").metadata.texts == picture.metadata.texts
    assert picture_header(tmp_path / "b.png") == picture_header(tmp_path / "a.png")


@pytest.mark.parametrize("source", FORMATS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once(orientation, source, tmp_path):
    """The old tag went on with the upright pixels, in EXIF and in XMP, and viewers turned them."""
    path = with_metadata(tmp_path / f"a.{source}", smooth(), orientation)
    with Image.open(put(tmp_path / "exif.png", encoded(pillow(smooth()), "PNG"))) as image:
        image.getexif()[ORIENTATION] = orientation
        upright = np.asarray(ImageOps.exif_transpose(image))
    picture = read_picture(path)
    header = picture_header(path)
    assert (header.height, header.width) == picture.pixels.shape[:2] == upright.shape[:2]
    assert psnr(picture.pixels, upright) > (40 if source == "jpg" else 100)
    for target in FORMATS:
        written = tmp_path / f"b.{target}"
        write_picture(written, picture.pixels, metadata=picture.metadata, lossless=True)
        assert picture_header(written).height == len(upright)
        with Image.open(written) as image:
            seen = np.asarray(ImageOps.exif_transpose(image))
        assert seen.shape == upright.shape
        assert psnr(seen, upright) > 38
        assert psnr(read_picture(written).pixels, upright) > 38


@pytest.mark.parametrize("suffix", ["jpg", "tif", "webp", "bmp"])
def test_texts_are_left_out_elsewhere_with_a_note(suffix, tmp_path):
    info = PngImagePlugin.PngInfo()
    info.add_text("Title", "A title")
    source = put(tmp_path / "a.png", encoded(pillow(smooth()), "PNG", pnginfo=info))
    metadata = read_picture(source).metadata
    (note,) = write_picture(tmp_path / f"b.{suffix}", smooth(), metadata=metadata)
    assert "texts" in note


def test_bmp_keeps_the_resolution(tmp_path):
    metadata = Metadata(resolution=(300 / 25.4, 150 / 25.4))
    assert write_picture(tmp_path / "a.bmp", smooth(), metadata=metadata) == ()
    with Image.open(tmp_path / "a.bmp") as image:
        assert image.info["dpi"] == pytest.approx((300, 150), abs=0.1)


def test_resolutions_across_and_down_turn_with_the_picture(tmp_path):
    pillow(smooth()).save(tmp_path / "a.jpg", dpi=(200, 100), exif=exif(6))
    picture = read_picture(tmp_path / "a.jpg")
    write_picture(tmp_path / "a.png", picture.pixels, metadata=picture.metadata)
    with Image.open(tmp_path / "a.png") as image:
        assert image.info["dpi"] == pytest.approx((100, 200), rel=1e-3)


def test_an_old_thumbnail_is_left_behind(tmp_path):
    image = pyvips.Image.new_from_array(smooth()).copy()
    thumbnail = image.thumbnail_image(16).jpegsave_buffer()
    image.set_type(pyvips.GValue.blob_type, "jpeg-thumbnail-data", thumbnail)
    image.jpegsave(str(tmp_path / "a.jpg"))
    assert thumbnail[-64:] in (tmp_path / "a.jpg").read_bytes()
    picture = read_picture(tmp_path / "a.jpg")
    write_picture(tmp_path / "b.jpg", picture.pixels, metadata=picture.metadata)
    assert thumbnail[-64:] not in (tmp_path / "b.jpg").read_bytes()


@pytest.mark.parametrize("suffix", FORMATS)
def test_nothing_is_made_up_for_a_picture_without_metadata(suffix, tmp_path):
    pillow(smooth()).save(tmp_path / f"a.{suffix}")
    picture = read_picture(tmp_path / f"a.{suffix}")
    for metadata in (None, picture.metadata):
        write_picture(tmp_path / f"b.{suffix}", picture.pixels, metadata=metadata)
        with Image.open(tmp_path / f"b.{suffix}") as image:
            assert not image.info.get("exif")
            assert not image.info.get("icc_profile")
            # PNG and TIFF files always get one: the usual.
            assert image.info.get("dpi", (72, 72)) == pytest.approx((72, 72), rel=1e-3)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"Exif\0\0",
        b"Exif\0\0XX*\0\x08\0\0\0",
        b"Exif\0\0II*\0\xff\xff\xff\0",
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(range(200)),
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x3b\x01\x02\0\xff\xff\xff\xff\0\0\0\0",
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x69\x87\x04\0\x01\0\0\0\x08\0\0\0\0\0\0\0",
    ],
)
def test_damaged_exif_costs_the_exif_and_not_the_picture(block, suffix, tmp_path):
    data = encoded(pillow(smooth()), "JPEG", quality=98)
    marker = b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block
    picture = read_picture(put(tmp_path / "a.jpg", data[:2] + marker + data[2:]))
    assert psnr(picture.pixels, smooth()) > 38
    write_picture(tmp_path / f"b.{suffix}", picture.pixels, metadata=picture.metadata)
    assert psnr(read_picture(tmp_path / f"b.{suffix}").pixels, smooth()) > 35


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_profile_of_another_kind_stops_nothing(suffix, tmp_path):
    pillow(smooth(channels=1)).save(tmp_path / f"a.{suffix}", icc_profile=SRGB)
    picture = read_picture(tmp_path / f"a.{suffix}")
    for target in FORMATS:
        write_picture(tmp_path / f"b.{target}", picture.pixels, metadata=picture.metadata)
        assert psnr(read_picture(tmp_path / f"b.{target}").pixels, smooth(channels=1)) > 38


GREY = SRGB[:16] + b"GRAY" + SRGB[20:]


@pytest.mark.parametrize(
    ("target", "field", "value", "expected"),
    [
        ("webp", "icc-profile-data", GREY, "WebP has no grey"),
        ("jpg", "icc-profile-data", GREY, None),
        ("webp", "icc-profile-data", SRGB, None),
        ("bmp", "icc-profile-data", SRGB, "BMP has no place for the colour profile"),
        ("bmp", "xmp-data", b"<x>", "BMP has no place for XMP"),
        ("jpg", "xmp-data", b"<x>" + b"y" * 59_997, None),
        ("jpg", "xmp-data", b"<x>" + b"y" * 59_998, "JPEG holds 60 kB of XMP"),
        ("webp", "xmp-data", b"<x>" + b"y" * 65_500, None),
        ("png", "xmp-data", b"<x>" + b"y" * 65_500, None),
        ("tif", "xmp-data", b"<x>" + b"y" * 65_500, None),
    ],
)
def test_metadata_that_a_format_cannot_hold_is_left_out_with_a_note(
    target, field, value, expected, tmp_path
):
    metadata = Metadata({field: (pyvips.GValue.blob_type, value)})
    path = tmp_path / f"a.{target}"
    notes = write_picture(path, smooth(channels=1), metadata=metadata)
    assert [note.split(":")[0] for note in notes] == ([expected] if expected else [])
    kept = read_picture(path).metadata.fields
    assert (field in kept) == (expected is None)
    assert not kept or kept[field][1] == value


NOTED = {
    "cmyk.jpg": (encoded(pillow(smooth()).convert("CMYK"), "JPEG", quality=98), "CMYK"),
    "cmyk.tif": (encoded(pillow(smooth()).convert("CMYK"), "TIFF"), "CMYK"),
    "moving.gif": (
        encoded(pillow(smooth()), "GIF", save_all=True, append_images=[Image.new("RGB", (32, 48))]),
        "the first of 2 frames",
    ),
    "moving.webp": (
        encoded(
            pillow(smooth()), "WEBP", save_all=True, append_images=[Image.new("RGB", (32, 48))]
        ),
        "the first of 2 frames",
    ),
    "moving.png": (
        encoded(pillow(smooth()), "PNG", save_all=True, append_images=[Image.new("RGB", (32, 48))]),
        "the first of 2 frames",
    ),
    "pages.tif": (
        encoded(pillow(smooth()), "TIFF", save_all=True, append_images=[Image.new("RGB", (5, 7))]),
        "the first of 2 pages",
    ),
    "a png.jpg": (encoded(pillow(smooth()), "PNG"), "its name says .jpg, it is a PNG"),
    "a bmp.png": (encoded(pillow(smooth()), "BMP"), "its name says .png, it is a BMP"),
    "a jpeg.gif": (
        encoded(pillow(smooth()), "JPEG", quality=98),
        "its name says .gif, it is a JPEG",
    ),
}


@pytest.mark.parametrize("name", NOTED)
def test_what_one_should_know_of_a_file_is_noted(name, tmp_path):
    data, expected = NOTED[name]
    picture = read_picture(put(tmp_path / name, data))
    (note,) = picture.notes
    assert expected in note
    header = picture_header(tmp_path / name)
    assert picture.pixels.shape == (header.height, header.width, header.channels)
    assert header.frames == (2 if "first" in expected else 1)
    assert psnr(picture.pixels[..., :3], smooth()) > 20  # CMYK has other colours, a GIF fewer


def test_cmyk_becomes_srgb_with_that_profile_and_keeps_its_bits(tmp_path):
    inks = np.zeros((4, 4, 4), np.uint16)
    inks[..., 0] = 65535
    picture = read_picture(put(tmp_path / "a.tif", tiff(inks, photometric=5)))
    header = picture_header(tmp_path / "a.tif")
    assert (header.channels, header.bits) == (3, 16)
    assert picture.pixels.dtype == np.uint16
    red, green, blue = picture.pixels[0, 0] / 65535
    assert red < 0.2 < 0.5 < min(green, blue)
    profile = picture.metadata.fields["icc-profile-data"][1]
    assert profile[16:20] == b"RGB "


def bomb(width, height):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + data + chunk(b"IEND", b"")


def half(data):
    return data[: len(data) // 2]


PHOTO = pillow(noise(3, height=64, width=64))
TEXT = b"This is no picture, whatever its name says.\n" * 20
SVG = (
    b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9">'
    b'<rect width="9" height="9"/></svg>'
)
# Name, content, what the message says.
BAD = {
    "truncated.png": (half(encoded(PHOTO, "PNG")), "truncated"),
    "truncated.jpg": (half(encoded(PHOTO, "JPEG")), "truncated"),
    "truncated.webp": (half(encoded(PHOTO, "WEBP")), "truncated"),
    "truncated.gif": (half(encoded(PHOTO, "GIF")), "truncated"),
    "truncated.bmp": (half(encoded(PHOTO, "BMP")), "truncated"),
    "truncated.tif": (half(encoded(PHOTO, "TIFF")), "truncated"),
    "truncated pixels.tif": (half(tiff(noise(3, height=64, width=64))), "truncated"),
    "last byte.png": (encoded(PHOTO, "PNG")[:-20], "truncated"),
    "last byte.jpg": (encoded(PHOTO, "JPEG")[:-200], "truncated"),
    "header only.png": (encoded(PHOTO, "PNG")[:33], "truncated"),
    "header only.jpg": (encoded(PHOTO, "JPEG")[:20], "truncated"),
    "header only.bmp": (encoded(PHOTO, "BMP")[:20], "truncated"),
    "eight bytes.png": (encoded(PHOTO, "PNG")[:8], "truncated"),
    "two bytes.bmp": (b"BM", "truncated"),
    "text.bmp": (b"BMW is no picture" * 9, "truncated"),
    "bomb.png": (bomb(200_000, 200_000), "200000×200000"),
    "largest.png": (bomb(2**31 - 1, 2**31 - 1), ""),
    "bomb.bmp": (bmp(200_000, 200_000, 24), "200000×200000"),
    "bomb.tif": (
        tiff(noise(1)).replace(
            struct.pack("<HHIH", 256, 3, 1, WIDTH), struct.pack("<HHIH", 256, 3, 1, 65535)
        ).replace(struct.pack("<HHIH", 257, 3, 1, HEIGHT), struct.pack("<HHIH", 257, 3, 1, 65535)),
        "65535×65535",
    ),
    "no pixels.bmp": (bmp(0, 5, 24), "truncated"),
    "empty.png": (b"", "empty"),
    "one byte.png": (b"\x89", "none of PNG"),
    "text.png": (TEXT, "none of PNG"),
    "table.csv": (b"1,2,3\n4,5,6\n", "none of PNG"),
    "svg.png": (SVG, "none of PNG"),
    "svg.svg": (SVG, "none of PNG"),
    "pdf.png": (encoded(PHOTO, "PDF"), "none of PNG"),
    "ppm.png": (encoded(PHOTO, "PPM"), "none of PNG"),
    "float.tif": (tiff(np.ones((4, 4, 1), np.float32), sample_format=3), "float"),
    "32 bit.tif": (tiff(np.ones((4, 4, 1), np.uint32)), "uint"),
    "signed.tif": (tiff(np.ones((4, 4, 1), np.int16), sample_format=2), "short"),
    "lab.tif": (tiff(noise(3), photometric=8), ""),
    "six channels.tif": (tiff(noise(6)), "6 channels"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_in_one_line(name, tmp_path, capfd):
    data, expected = BAD[name]
    path = put(tmp_path / name, data)
    with pytest.raises(UnreadablePictureError) as caught:
        read_picture(path)
    message = str(caught.value)
    assert message.startswith(f"cannot read {path}: ")
    assert len(message) > len(f"cannot read {path}: ") + 10
    assert expected in message
    assert "\n" not in message
    # The header may be all that is right; if it is not, it is refused likewise.
    with suppress(UnreadablePictureError):
        picture_header(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["bomb.png", "bomb.bmp", "bomb.tif", "largest.png"])
def test_a_huge_picture_is_refused_before_anything_is_allocated(name, tmp_path):
    path = put(tmp_path / name, BAD[name][0])
    for read in (picture_header, read_picture):
        with PeakMemory("cpu") as memory, pytest.raises(UnreadablePictureError):
            read(path)
        assert memory.read().increase_mib < 100


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP"])
def test_the_limit_of_pixels_holds_for_every_format_and_can_be_raised(format, tmp_path):
    path = put(tmp_path / "a", encoded(PHOTO, format))
    for read in (picture_header, read_picture):
        with pytest.raises(UnreadablePictureError, match="max_pixels"):
            read(path, max_pixels=64 * 64 - 1)
        read(path, max_pixels=64 * 64)


def test_pillows_own_limit_does_not_get_in_the_way(tmp_path, monkeypatch):
    """Pillow refused BMP files of 179 megapixels and more, whatever the limit asked for."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert read_picture(put(tmp_path / "a.bmp", encoded(PHOTO, "BMP"))).pixels.size == 64 * 64 * 3


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP"])
def test_damage_anywhere_gives_a_picture_or_one_line(format, tmp_path, capfd):
    data = encoded(pillow(smooth(24, 16)), format)
    rng = np.random.default_rng(0)
    refused = []
    for _ in range(60):
        damaged = bytearray(data)
        for at in rng.integers(0, min(len(data), 400), rng.integers(1, 6)):
            damaged[at] = rng.integers(256)
        path = put(tmp_path / "a", bytes(damaged))
        try:
            picture = read_picture(path, max_pixels=10**6)
            header = picture_header(path, max_pixels=10**6)
            assert picture.pixels.shape == (header.height, header.width, header.channels)
        except UnreadablePictureError as error:
            refused.append(str(error))
            continue
        write_picture(tmp_path / "b.tif", picture.pixels, metadata=picture.metadata)
        write_picture(tmp_path / "b.jpg", picture.pixels, metadata=picture.metadata)
    assert refused
    assert all(line.startswith(f"cannot read {path}: ") for line in refused)
    assert not any("\n" in line for line in refused)
    assert capfd.readouterr() == ("", "")


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    put(tmp_path / "file", b"x")
    for name, expected in {
        "": "folder",
        "missing.png": "No such file",
        "file/inside.png": "Not a directory",
        "pipe.png": "ordinary file",  # must not wait for a writer
        "loop.png": "symbolic links",
        "n" * 300 + ".png": "too long",
    }.items():
        path = tmp_path / name
        for read in (picture_header, read_picture):
            with pytest.raises(UnreadablePictureError, match=expected) as caught:
                read(path)
            assert str(caught.value).startswith(f"cannot read {path}: ")


def test_names_beyond_ascii_are_fine_and_names_that_are_not_utf8_are_refused(tmp_path):
    data = encoded(PHOTO, "PNG")
    assert read_picture(put(tmp_path / "Zoë 日本 'a' [x=1].png", data)).format == "PNG"
    odd = os.path.join(os.fsencode(tmp_path), b"Zo\xeb.png")
    with open(odd, "wb") as file:
        file.write(data)
    with pytest.raises(UnreadablePictureError, match="not UTF-8") as caught:
        read_picture(os.fsdecode(odd))
    str(caught.value).encode()  # can be printed


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_files_and_folders_without_permission_are_refused(tmp_path):
    path = put(tmp_path / "a.png", encoded(PHOTO, "PNG"))
    path.chmod(0)
    with pytest.raises(UnreadablePictureError, match="Permission denied"):
        read_picture(path)
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="no permission"):
        check_writable(tmp_path / "new" / "b.png", height=1, width=1)
    tmp_path.chmod(0o700)


def test_a_file_without_read_permission_is_refused(tmp_path):
    path = put(tmp_path / "a.png", encoded(PHOTO, "PNG"))
    denied = mock.patch("pathlib.Path.open", side_effect=PermissionError(13, "Permission denied"))
    with denied, pytest.raises(UnreadablePictureError, match=r"a\.png: Permission denied"):
        read_picture(path)


def test_a_folder_without_write_permission_is_refused_before_any_work(tmp_path):
    with (
        mock.patch("os.access", return_value=False),
        pytest.raises(InputError, match=f"no permission to write in {tmp_path}$"),
    ):
        check_writable(tmp_path / "new" / "newer" / "a.png", height=1, width=1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "height", "width", "expected"),
    [
        ("a", 1, 1, "'' is no picture format"),
        ("a.gif", 1, 1, "'.gif' is no picture format"),
        ("a.xyz", 1, 1, "'.xyz' is no picture format"),
        ("a.webp", 1, 16_384, "at most 16383 pixels"),
        ("a.WEBP", 16_384, 1, "at most 16383 pixels"),
        ("a.jpg", 1, 65_536, "at most 65500 pixels"),
        ("a.jpeg", 65_501, 1, "at most 65500 pixels"),
        ("a.bmp", 40_000, 40_000, "at most 4 GiB"),
        ("folder.png", 1, 1, "it is a folder"),
        ("file/a.png", 1, 1, "is not a folder"),
        ("file/new/a.png", 1, 1, "is not a folder"),
        ("n" * 300 + "/a.png", 1, 1, None),  # told by the system, when it is made
    ],
)
def test_what_cannot_be_written_is_refused_before_any_work(name, height, width, expected, tmp_path):
    put(tmp_path / "file", b"x")
    (tmp_path / "folder.png").mkdir()
    before = sorted(tmp_path.rglob("*"))
    if expected:
        with pytest.raises(InputError, match=expected) as caught:
            check_writable(tmp_path / name, height=height, width=width)
        assert str(caught.value).startswith(f"cannot write {tmp_path / name}: ")
    if height * width < 10**6:
        with pytest.raises(InputError, match="cannot write"):
            write_picture(tmp_path / name, np.zeros((height, width, 1), np.uint8))
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("suffix", "side"), [(".webp", 16_383), (".jpg", 65_500), (".png", 200_000), (".bmp", 200_000)]
)
def test_the_largest_side_that_is_allowed_can_be_written(suffix, side, tmp_path):
    """libjpeg stops at 65,500, not at the 65,535 of the standard: found out after all the work."""
    for shape in ((side, 1, 3), (1, side, 3)):
        check_writable(tmp_path / f"a{suffix}", height=shape[0], width=shape[1])
        write_picture(tmp_path / f"a{suffix}", np.zeros(shape, np.uint8))
        assert read_picture(tmp_path / f"a{suffix}").pixels.shape == shape


def test_folders_are_made_and_files_replaced_with_the_usual_permissions(tmp_path):
    path = tmp_path / "new" / "newer" / "a.png"
    write_picture(path, noise(3))
    write_picture(path, noise(4))
    np.testing.assert_array_equal(read_picture(path).pixels, noise(4))  # none from a cache
    assert picture_header(path).channels == 4
    assert path.stat().st_mode & 0o777 == put(tmp_path / "plain", b"").stat().st_mode & 0o777


@contextmanager
def full_disk():
    """Let no file grow beyond 20 kB, as if the disk were full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".tif"])
def test_a_full_disk_leaves_the_old_file_and_no_other(suffix, tmp_path, capfd):
    path = put(tmp_path / f"a{suffix}", b"old")
    with full_disk(), pytest.raises(InputError) as caught:
        write_picture(path, noise(3, height=300, width=300))
    message = str(caught.value)
    assert message.startswith(f"cannot write {path}: ")
    assert "\n" not in message
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_error_at_the_very_end_leaves_the_old_file_and_no_other(error, tmp_path, monkeypatch):
    path = put(tmp_path / "a.png", b"old")
    monkeypatch.setattr("os.replace", mock.Mock(side_effect=error))
    expected = InputError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected) as caught:
        write_picture(path, noise(3))
    if expected is InputError:
        assert str(caught.value) == f"cannot write {path}: No space left on device"
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 5), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 3), ">u2"),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_arrays_of_another_kind_are_refused(pixels, tmp_path):
    with pytest.raises(InputError, match="a picture is an array"):
        write_picture(tmp_path / "a.png", pixels)


@pytest.mark.parametrize("quality", [0, 101])
def test_a_quality_that_does_not_exist_is_refused(quality, tmp_path):
    for suffix in (".jpg", ".webp"):
        with pytest.raises(InputError, match="quality"):
            write_picture(tmp_path / f"a{suffix}", noise(3), quality=quality)
    assert not list(tmp_path.iterdir())


def test_views_of_arrays_are_written_as_they_look(tmp_path):
    pixels = noise(4, 16)
    write_picture(tmp_path / "a.png", pixels[::-1, ::2, 2::-1])
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png").pixels, pixels[::-1, ::2, 2::-1])


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_picture("~/a.png", noise(3))
    assert picture_header("~/a.png").width == read_picture("~/a.png").pixels.shape[1] == WIDTH
    with pytest.raises(UnreadablePictureError, match=r"cannot read ~nobody-here/a\.png"):
        read_picture("~nobody-here/a.png")
