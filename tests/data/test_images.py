import numpy as np
import pytest
import torch
from PIL import Image

from esc_sr.data.images import (
    UnreadableImageError,
    image_size,
    list_images,
    read_image,
    write_image,
)
from esc_sr.errors import InputError


def photo(height=6, width=9, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)


def one_line(error):
    assert "\n" not in str(error.value)
    return str(error.value)


def test_images_are_listed_by_name_whatever_the_case(tmp_path):
    for name in ("b.PNG", "a.jpg", "c.webp", "notes.txt", ".hidden.png", "d.TIFF"):
        (tmp_path / name).touch()
    (tmp_path / "folder.txt").mkdir()
    assert [path.name for path in list_images(tmp_path)] == ["a.jpg", "b.PNG", "c.webp", "d.TIFF"]


def test_listing_a_missing_folder_names_it(tmp_path):
    with pytest.raises(InputError, match=r"no such folder: .*nowhere") as error:
        list_images(tmp_path / "nowhere")
    one_line(error)


@pytest.mark.parametrize("extension", ["png", "webp", "bmp", "tif"])
def test_lossless_formats_round_trip(tmp_path, extension):
    image = photo()
    write_image(tmp_path / "new" / f"a.{extension}", image)
    assert torch.equal(read_image(tmp_path / "new" / f"a.{extension}"), image)
    assert [path.name for path in (tmp_path / "new").iterdir()] == [f"a.{extension}"]


def test_grey_palette_and_alpha_become_rgb(tmp_path):
    rgb = Image.fromarray(photo().permute(1, 2, 0).numpy())
    expected = read_after(rgb, tmp_path / "rgb.png")
    grey = read_after(rgb.convert("L"), tmp_path / "grey.png")
    assert grey.shape == (3, 6, 9)
    assert torch.equal(grey[0], grey[2])
    alpha = rgb.copy()
    alpha.putalpha(7)
    assert torch.equal(read_after(alpha, tmp_path / "alpha.png"), expected)
    palette = rgb.quantize(256)
    assert torch.equal(read_after(palette, tmp_path / "palette.png"), expected)


def read_after(image, path):
    image.save(path)
    return read_image(path)


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    Image.fromarray(np.array([[0, 257 * 100, 65535]], dtype=np.uint16)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png")[0].tolist() == [[0, 100, 255]]


def test_exif_orientation_is_applied(tmp_path):
    image = photo()
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise to see it upright
    pixels = image.permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    assert torch.equal(read_image(tmp_path / "a.png"), torch.rot90(image, -1, (1, 2)))
    assert image_size(tmp_path / "a.png") == (9, 6)


def broken_files():
    import io

    buffer = io.BytesIO()
    Image.fromarray(photo(64, 64).permute(1, 2, 0).numpy()).save(buffer, "PNG")
    whole = buffer.getvalue()
    jpeg = io.BytesIO()
    Image.fromarray(photo(64, 64).permute(1, 2, 0).numpy()).save(jpeg, "JPEG")
    return {
        "truncated.png": whole[: len(whole) // 2],
        "truncated.jpg": jpeg.getvalue()[: len(jpeg.getvalue()) // 2],
        "header_only.png": whole[:12],
        "damaged.png": whole[:60] + bytes(40) + whole[100:],
        "text.png": b"this is not an image",
        "zero.png": b"",
    }


@pytest.mark.parametrize("name", list(broken_files()))
def test_unreadable_images_are_told_by_path_in_one_line(tmp_path, name):
    (tmp_path / name).write_bytes(broken_files()[name])
    with pytest.raises(UnreadableImageError, match="cannot read image") as error:
        read_image(tmp_path / name)
    assert str(tmp_path / name) in one_line(error)


def test_missing_image_and_folder_are_told(tmp_path):
    for path in (tmp_path / "none.png", tmp_path):
        with pytest.raises(InputError, match="cannot read image") as error:
            read_image(path)
        assert str(path) in one_line(error)


def test_decompression_bombs_are_refused_by_their_header(tmp_path):
    write_image(tmp_path / "a.png", photo())
    for read in (read_image, image_size):
        read(tmp_path / "a.png", max_megapixels=54e-6)
        with pytest.raises(
            InputError, match=r"a\.png is 6×9, 5.4e-05 megapixels, more than"
        ) as told:
            read(tmp_path / "a.png", max_megapixels=53e-6)
        assert "max_megapixels=5.3e-05: raise" in one_line(told)


def test_pillows_own_limit_does_not_get_in_the_way(tmp_path, monkeypatch):
    write_image(tmp_path / "a.png", photo())
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    assert read_image(tmp_path / "a.png").shape == (3, 6, 9)
    assert Image.MAX_IMAGE_PIXELS == 20


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    write_image(path, photo())
    before = path.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(InputError, match=r"cannot write .*a\.png: No space left"):
        write_image(path, photo(seed=1))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_wrong_targets_and_tensors_are_told(tmp_path):
    with pytest.raises(InputError, match="unknown extension"):
        write_image(tmp_path / "a.xyz", photo())
    with pytest.raises(ValueError, match=r"expected \(3, H, W\) uint8"):
        write_image(tmp_path / "a.png", photo().float())
