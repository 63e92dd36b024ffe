"""Picture files that are cut, damaged, hostile or merely odd, made anew from a seed each time."""

import io
import random
import struct
import zlib

import numpy as np
from PIL import Image, ImageCms

SEED = 20261126
HEIGHT, WIDTH = 20, 28
EXTENSIONS = {
    "png": "PNG",
    "jpg": "JPEG",
    "webp": "WEBP",
    "tif": "TIFF",
    "bmp": "BMP",
    "gif": "GIF",
}


def pixels(height=HEIGHT, width=WIDTH, channels=3, dtype=np.uint8):
    """Noise, which no format can make small, so that most of a file is entropy-coded data."""
    generator = np.random.default_rng(SEED)
    high = 256 if dtype == np.uint8 else 65536
    shape = (height, width, channels) if channels else (height, width)
    return generator.integers(0, high, shape).astype(dtype)


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def sound(extension, **options):
    """A whole file of a format."""
    image = Image.fromarray(pixels())
    if extension == "gif":
        image = image.quantize(64)
    return encoded(image, EXTENSIONS[extension], **options)


def _positions(extension, content):
    """Where to cut a file, by what lies there; the second word of a name says what is lost."""
    last = len(content) - 1
    if extension == "png":
        data = content.index(b"IDAT")
        size = int.from_bytes(content[data - 4 : data], "big")
        return {
            "magic": 4, "behind magic": 8, "header": 20, "between chunks": data - 4,
            "name of a chunk": data + 2, "first data": data + 5,
            "half of the data": data + size // 2, "last data": data + 4 + size - 12,
        }  # fmt: skip
    if extension == "jpg":
        frame, scan = content.index(b"\xff\xc0"), content.index(b"\xff\xda")
        return {
            "magic": 2, "behind magic": 3, "application segment": 10, "between segments": frame,
            "frame": frame + 6, "scan": scan + 4, "first data": scan + 16,
            "half of the data": (scan + last) // 2, "last data": last - 12,
        }  # fmt: skip
    if extension == "webp":
        data = content.index(b"VP8")
        return {
            "magic": 6, "behind magic": 12, "name of a chunk": data + 2, "header": data + 12,
            "first data": data + 24, "half of the data": (data + last) // 2, "last data": last - 12,
        }  # fmt: skip
    if extension == "tif":
        directory = int.from_bytes(content[4:8], "little")
        return {
            "magic": 3, "behind magic": 4, "header": 6, "behind header": 8,
            "directory": directory + 9, "half": len(content) // 2,
        }  # fmt: skip
    if extension == "bmp":
        return {
            "magic": 1, "behind magic": 2, "header": 10, "second header": 20, "between": 54,
            "half of the data": (54 + last) // 2, "last data": last - 12,
        }  # fmt: skip
    return {
        "magic": 4, "behind magic": 6, "header": 9, "palette": 40, "between": 13 + 3 * 64,
        "half of the data": (205 + last) // 2,
    }  # fmt: skip


def cut():
    """Files that end too early: at every kind of place, in every format."""
    found = {}
    for extension in EXTENSIONS:
        content = sound(extension)
        for name, position in _positions(extension, content).items():
            found[f"{extension} cut in {name}.{extension}"] = content[:position]
    return found


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width, height, *, bits=8, colour=2, data=b"", before=b"", interlace=0):
    """A PNG that says of itself what one likes."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlace)
    return b"".join(
        [b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header), before,
         chunk(b"IDAT", zlib.compress(data)), chunk(b"IEND", b"")]
    )  # fmt: skip


def tiff(*entries, data=b"", next_directory=0):
    """A little-endian TIFF of one directory; entries are (tag, type, count, value)."""
    body = struct.pack("<2sHIH", b"II", 42, 8, len(entries))
    body += b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    return body + struct.pack("<I", next_directory) + data


def plain_tiff(width, height, *, bits=8, samples=1, kind=1, data=b"", photometric=1, **more):
    start = 8 + 2 + 12 * 10 + 4
    entries = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, bits), (259, 3, 1, 1),
        (262, 3, 1, photometric), (273, 4, 1, start), (277, 3, 1, samples), (278, 4, 1, height),
        (279, 4, 1, len(data)), (339, 3, 1, kind),
    ]  # fmt: skip
    return tiff(*entries, data=data, **more)


def bmp(width, height, *, bits=24, compression=0, size=40, offset=54, data=b""):
    head = struct.pack("<2sIHHI", b"BM", offset + len(data), 0, 0, offset)
    return head + struct.pack(
        "<IiiHHIIiiII", size, width, height, 1, bits, compression, 0, 0, 0, 0, 0
    ) + data  # fmt: skip


def gif(width, height, data=b"\x02\x02\x44\x01\x00"):
    return (
        struct.pack("<6sHHBBB", b"GIF89a", width, height, 0x80, 0, 0)
        + b"\0\0\0\xff\xff\xff"
        + struct.pack("<BHHHHB", 0x2C, 0, 0, width, height, 0)
        + data
        + b"\x3b"
    )


def webp(width, height):
    """An extended WebP whose canvas is as large as one likes, with no image in it."""
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + size
    return b"RIFF" + struct.pack("<I", len(body)) + body


def jpeg(width, height):
    """A JPEG whose frame says another size than its data has."""
    content = bytearray(sound("jpg"))
    frame = content.index(b"\xff\xc0")
    content[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(content)


def refused():
    """Files that no reader can make a picture of."""
    noise = random.Random(SEED).randbytes(3000)
    return {
        "empty.png": b"",
        "one byte.png": b"\x89",
        "zeros.jpg": bytes(2000),
        "noise.webp": noise,
        "text.png": b"Ceci n'est pas une image.\n" * 20,
        "markup.png": b'<svg xmlns="http://www.w3.org/2000/svg"><rect width="9" height="9"/></svg>',
        "html.jpg": b"<!DOCTYPE html><html><script>alert(1)</script></html>",
        "script.png": b"#!/bin/sh\ntouch executed\n",
        "postscript.tif": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(executed) run\n",
        "pdf.png": b"%PDF-1.7\n1 0 obj\n<< /JS (touch executed) >>\nendobj\n",
        "archive.png": b"PK\x03\x04" + noise,
        "pickle.png": b"cposix\nsystem\n(S'touch executed'\ntR.",
        "heic.jpg": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + noise,
        "exr.tif": b"\x76\x2f\x31\x01\x02\0\0\0" + noise,
        "half a magic.png": b"\x89PNG\r\n" + noise,
        "noise behind magic.png": b"\x89PNG\r\n\x1a\n" + noise,
        "noise behind magic.jpg": b"\xff\xd8\xff" + noise,
        "noise behind magic.tif": b"II*\0" + noise,
        "noise behind magic.webp": b"RIFF\x10\x10\0\0WEBP" + noise,
        "noise behind its magic.gif": b"GIF89a" + noise[:4] + b"\0\0\0" + noise,
        "noise behind magic.bmp": b"BM" + noise,
        # No pixels at all.
        "width 0.png": png(0, 9),
        "height 0.png": png(9, 0),
        "width 0.bmp": bmp(0, 9),
        "height 0.tif": plain_tiff(9, 0),
        "height 0.jpg": jpeg(9, 0),
        "no data.png": png(9, 9),
        "no directory.tif": tiff(),
        "directory outside.tif": b"II*\0" + struct.pack("<I", 2**31),
        # Small files that ask for gigabytes.
        "huge.png": png(2**31 - 1, 2**31 - 1),
        "huge row.png": png(2**31 - 1, 1, data=bytes(100)),
        "huge square.png": png(60_000, 60_000, data=bytes(10**5)),
        "huge interlaced.png": png(60_000, 60_000, data=bytes(10**5), interlace=1),
        "huge.tif": plain_tiff(2**31 - 1, 2**31 - 1),
        "huge square.tif": plain_tiff(60_000, 60_000, data=bytes(100)),
        "huge.bmp": bmp(2**31 - 1, 2**31 - 1),
        "huge square.bmp": bmp(60_000, 60_000, data=bytes(100)),
        "huge upside down.bmp": bmp(60_000, -(2**31)),
        "huge runs.bmp": bmp(60_000, 60_000, bits=8, compression=1, data=b"\xff\0" * 99),
        "huge.webp": webp(2**24, 2**24),
        "huge.jpg": jpeg(65_500, 65_500),
        "huge screen.gif": gif(65_535, 65_535),
        # What they promise lies below the limit; what they hold does not keep it.
        "15000 and nothing.png": png(15_000, 15_000, data=bytes(100)),
        "15000 and nothing.tif": plain_tiff(15_000, 15_000, data=bytes(100)),
        "15000 and nothing.bmp": bmp(15_000, 15_000, data=bytes(100)),
        "15000 and nothing.webp": webp(15_000, 15_000),
        "9000 samples.tif": plain_tiff(2, 2, samples=9000, data=bytes(400)),
        "16 million entries.tif": struct.pack("<2sHQQ", b"II", 43, 8, 2**24) + bytes(100),
        "wrong bits.png": png(9, 9, bits=3, data=bytes(400)),
        "wrong colours.png": png(9, 9, colour=5, data=bytes(400)),
        "palette without one.png": png(9, 9, colour=3, data=bytes(90)),
        "wrong compression.bmp": bmp(9, 9, compression=77, data=bytes(400)),
        "wrong header.bmp": bmp(9, 9, size=3, data=bytes(400)),
        "wrong bits.bmp": bmp(9, 9, bits=17, data=bytes(400)),
    }


def odd():
    """Unusual files: most are pictures; whether one can be read is left to the reader."""
    image = Image.fromarray(pixels())
    grey = image.convert("L")
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return {
        "cmyk.jpg": encoded(image.convert("CMYK"), "JPEG"),
        "cmyk.tif": encoded(image.convert("CMYK"), "TIFF"),
        "lab.tif": encoded(image.convert("LAB"), "TIFF"),
        "float.tif": encoded(grey.convert("F"), "TIFF"),
        "integers.tif": encoded(grey.convert("I"), "TIFF"),
        "16 bit grey.png": encoded(Image.fromarray(pixels(channels=0, dtype=np.uint16)), "PNG"),
        "16 bit grey.tif": encoded(Image.fromarray(pixels(channels=0, dtype=np.uint16)), "TIFF"),
        "1 bit.png": encoded(image.convert("1"), "PNG"),
        "1 bit.tif": encoded(image.convert("1"), "TIFF", compression="group4"),
        "1 bit.bmp": encoded(image.convert("1"), "BMP"),
        "grey and alpha.png": encoded(image.convert("LA"), "PNG"),
        "grey and alpha.tif": encoded(image.convert("LA"), "TIFF"),
        "palette.png": encoded(image.quantize(7), "PNG"),
        "palette and transparency.png": encoded(
            image.quantize(7), "PNG", transparency=bytes([0, 99, 255])
        ),
        "palette.bmp": encoded(image.quantize(7), "BMP"),
        "alpha.png": encoded(image.convert("RGBA"), "PNG"),
        "alpha.webp": encoded(image.convert("RGBA"), "WEBP", lossless=True),
        "alpha.bmp": encoded(image.convert("RGBA"), "BMP"),
        "moving.gif": encoded(
            image.quantize(9), "GIF", save_all=True, append_images=[grey.quantize(9)] * 3
        ),
        "animated.webp": encoded(image, "WEBP", save_all=True, append_images=[image.rotate(180)]),
        "animated.png": encoded(image, "PNG", save_all=True, append_images=[image.rotate(180)]),
        "pages.tif": encoded(image, "TIFF", save_all=True, append_images=[image.resize((5, 4))]),
        "progressive.jpg": encoded(image, "JPEG", progressive=True),
        "1 pixel.png": encoded(image.crop((0, 0, 1, 1)), "PNG"),
        "1 column.png": encoded(image.crop((0, 0, 1, HEIGHT)), "PNG"),
        "1 row.jpg": encoded(image.crop((0, 0, WIDTH, 1)), "JPEG"),
        "trailing bytes.png": sound("png") + b"more" * 100,
        "trailing archive.jpg": sound("jpg") + b"PK\x03\x04" * 100,
        "png named.jpg": sound("png"),
        "jpeg named.png": sound("jpg"),
        "gif named.tif": sound("gif"),
        "garbage profile.png": encoded(image, "PNG", icc_profile=b"garbage" * 30),
        "garbage profile.jpg": encoded(image, "JPEG", icc_profile=bytes(128)),
        "grey profile.jpg": encoded(image, "JPEG", icc_profile=profile.replace(b"RGB ", b"GRAY")),
        "cmyk without profile.jpg": encoded(image.convert("CMYK"), "JPEG", icc_profile=b"no" * 99),
        "profile bomb.png": png(
            9, 9, data=bytes(9 * 28), before=chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(2**26)))
        ),
        "text bomb.png": png(
            9, 9, data=bytes(9 * 28), before=chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**26)))
        ),
        "many texts.png": png(9, 9, data=bytes(9 * 28), before=chunk(b"tEXt", b"a\0b") * 3000),
        "wrong checksum.png": sound("png")[:29] + b"\0\0\0\0" + sound("png")[33:],
        "no end.png": sound("png")[:-12],
        "no end.jpg": sound("jpg")[:-2],
        "no trailer.gif": sound("gif")[:-1],
        "garbage EXIF.jpg": encoded(image, "JPEG", exif=b"Exif\0\0" + bytes(range(256))),
        "EXIF that points to itself.jpg": encoded(image, "JPEG", exif=b"Exif\0\0" + tiff(
            (0x8769, 4, 1, 8), (0x8825, 4, 1, 8), next_directory=8)),
        "huge EXIF value.jpg": encoded(
            image, "JPEG", exif=b"Exif\0\0" + tiff((0x010F, 2, 2**31, 8))
        ),
        "orientation 99.jpg": encoded(image, "JPEG", exif=b"Exif\0\0" + tiff((0x0112, 3, 1, 99))),
        "orientation 6.png": encoded(image, "PNG", exif=b"Exif\0\0" + tiff((0x0112, 3, 1, 6))),
        "resolution 0.jpg": encoded(image, "JPEG", dpi=(0, 0)),
        "garbage XMP.jpg": encoded(image, "JPEG", xmp=b"<x:xmpmeta" + bytes(range(256))),
        "next directory is the first.tif": plain_tiff(9, 9, data=bytes(81), next_directory=8),
        "65535 columns.png": png(65_535, 1, data=bytes(1 + 3 * 65_535)),
        "65535 rows.bmp": bmp(1, 65_535, data=bytes(4 * 65_535)),
        "no frames.png": png(9, 9, data=bytes(9 * 28), before=chunk(b"acTL", bytes(8))),
        "frames that are not there.png": png(
            9, 9, data=bytes(9 * 28), before=chunk(b"acTL", b"\xff" * 8)
        ),
        "upside down.bmp": bmp(9, -9, data=bytes(28 * 9)),
        "offset outside.bmp": bmp(9, 9, offset=2**31, data=bytes(28 * 9)),
        "float and NaN.tif": plain_tiff(
            9, 9, bits=32, kind=3, data=np.full(81, np.nan, np.float32).tobytes()
        ),
        "big-endian.tif": sound("tif").replace(b"II*\0", b"MM\0*", 1),
    }  # fmt: skip


def flipped(number, *, extensions=tuple(EXTENSIONS), seed=SEED):
    """Files with one to eight bits turned over, most of them near the beginning."""
    generator = random.Random(seed)
    found = {}
    for extension in extensions:
        content = sound(extension)
        for index in range(number):
            damaged = bytearray(content)
            for _ in range(generator.randint(1, 8)):
                part = len(content) if generator.random() < 0.4 else min(400, len(content))
                damaged[generator.randrange(part)] ^= 1 << generator.randrange(8)
            found[f"{extension} flipped {index}.{extension}"] = bytes(damaged)
    return found
