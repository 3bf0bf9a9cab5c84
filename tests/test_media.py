"""Images as models see them, and what is said about those that can't be read."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from muster.core import Media, SampleError
from muster.media import load_image

RED, GREEN = (255, 0, 0), (0, 255, 0)


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def two_colours() -> Image.Image:
    """Red on the left, green on the right, four pixels wide and two high."""
    image = Image.new("RGB", (4, 2), RED)
    image.paste(GREEN, (2, 0, 4, 2))
    return image


def test_a_path_and_bytes_give_the_same_pixels(tmp_path: Path) -> None:
    data = encoded(two_colours())
    path = tmp_path / "a.png"
    path.write_bytes(data)
    from_bytes = load_image(Media("image", data=data))
    from_path = load_image(Media("image", path=str(path)))
    assert from_bytes.tobytes() == from_path.tobytes() == two_colours().tobytes()


def test_a_photograph_is_turned_upright() -> None:
    """Cameras store pixels as the sensor lies; a model that ignores the tag sees a sideways world."""
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise
    image = load_image(Media("image", data=encoded(two_colours(), exif=exif)))
    assert image.size == (2, 4)
    assert image.getpixel((0, 0)) == RED
    assert image.getpixel((0, 3)) == GREEN


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1", "I;16"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    image = Image.new("L", (3, 3), 255) if mode == "I;16" else two_colours()
    data = encoded(image.convert(mode), "TIFF" if mode == "CMYK" else "PNG")
    decoded = load_image(Media("image", data=data))
    assert decoded.mode == "RGB"
    assert decoded.size == image.size


def test_the_first_frame_of_an_animation_counts() -> None:
    frames = [Image.new("RGB", (2, 2), colour) for colour in (RED, GREEN)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert load_image(Media("image", data=data)).getpixel((0, 0)) == RED


def test_pixels_outlive_the_file(tmp_path: Path) -> None:
    """Pillow reads lazily: an image that is opened and not loaded breaks when its file goes."""
    path = tmp_path / "a.png"
    path.write_bytes(encoded(two_colours()))
    image = load_image(Media("image", path=str(path)))
    path.unlink()
    assert image.getpixel((3, 1)) == GREEN


@pytest.mark.parametrize("keep", [0, 10, 50])
def test_a_torn_file_is_a_sample_error_that_names_it(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "torn.jpg"
    noise = Image.effect_noise((64, 64), 50)
    path.write_bytes(encoded(noise, "JPEG")[: keep * 10])
    with pytest.raises(SampleError, match=r"torn\.jpg can't be decoded"):
        load_image(Media("image", path=str(path)))


def test_bytes_that_are_no_image_are_named_by_size_and_digest() -> None:
    media = Media("image", data=b"<html>404</html>")
    with pytest.raises(SampleError, match=f"16 bytes .{media.identity[:12]}"):
        load_image(media)


def test_a_missing_file_and_an_address_say_so() -> None:
    with pytest.raises(SampleError, match=r"/no/such\.png does not exist"):
        load_image(Media("image", path="/no/such.png"))
    with pytest.raises(SampleError, match="fetch from the network"):
        load_image(Media("image", url="https://example.org/a.png"))


def test_a_video_is_not_an_image() -> None:
    with pytest.raises(SampleError, match="where an image is expected"):
        load_image(Media("video", path="/films/a.mp4"))
