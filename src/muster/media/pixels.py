"""An opened image of any of Pillow's modes as RGB with 8 bits a channel, as viewers show it.

What has more than 8 bits is scaled by its declared range (16-bit PNG, PGM and TIFF, 12-bit TIFF …). 32-bit integers and
floats declare none: theirs is the smallest of 255, 65,535 and the type's own (for floats of 1, 255, 65,535 and the
largest value) that holds all values. Negative values and NaN are black.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from muster.core import Transparency

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

    Numbers = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
    Bytes = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]

BYTE, WORD = 255, 65535
UNIT_AT_MOST = 16.0
"""Floats up to here are taken for 0 to 1 with highlights above it: as 0 to 255 they would be a black picture."""
OPAQUE_IF_EMPTY = frozenset({"BMP", "DIB", "TGA", "ICO", "CUR"})
"""Formats whose fourth byte is often unused: where all of it is 0, viewers ignore it."""

_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # TIFF's tags
_WHITE_IS_ZERO, _UNSIGNED, _SIGNED = 0, 1, 2


class Flat(NamedTuple):
    """An image without transparency."""

    image: Image
    """Mode RGB, nothing in `info` but an ICC profile."""
    transparent: bool
    """Whether a pixel of the original was."""


class Declared(NamedTuple):
    """What a file says of its samples; to be read before it is decoded."""

    bits: int
    """Of a channel; 8 where it isn't said."""
    signed: bool = False
    inverted: bool = False
    """Whether 0 is white, in a mode in which Pillow doesn't see to that."""


def declared(image: Image) -> Declared:
    """The samples of an image that was opened and not loaded yet."""
    many = image.mode.startswith(("I", "F"))
    if image.format == "TIFF":
        tags: dict[int, object] = getattr(image, "tag_v2", {})
        bits = tags.get(_BITS, (8,))
        form = tags.get(_SAMPLE_FORMAT, (_UNSIGNED,))
        return Declared(
            max(bits) if isinstance(bits, tuple) else 8,
            isinstance(form, tuple) and form[0] == _SIGNED,
            many and tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO,
        )
    if image.format == "PNG":
        raw = str(tiles[0][3]) if (tiles := getattr(image, "tile", ())) else ""
        depth = raw.partition(";")[2].rstrip("BLN")
        return Declared(int(depth) if depth.isdigit() else 16 if many else 8)
    if image.format in ("PPM", "JPEG2000") and image.mode != "F":
        return Declared(16 if many else 8)
    return Declared(16 if image.mode.startswith("I;16") else 32 if many else 8)


def flattened(image: Image, samples: Declared, transparency: Transparency) -> Flat:
    """A loaded image's pixels as models take them. Transparency is laid on white, or dropped."""
    from PIL import Image

    colours, alpha = _parts(image, samples)
    if alpha is not None and image.format in OPAQUE_IF_EMPTY and alpha.getextrema() == (0, 0):
        alpha = None
    transparent = alpha is not None and alpha.getextrema()[0] != BYTE
    if alpha is not None and transparent and transparency == "white":
        colours.putalpha(alpha)
        white = Image.new("RGBA", colours.size, "white")
        white.alpha_composite(colours)
        colours = white.convert("RGB")
    profile = image.info.get("icc_profile") if image.mode in ("RGB", "RGBA", "P", "PA") else None
    colours.info = {"icc_profile": profile} if profile else {}
    return Flat(colours, transparent)


def has_transparency(image: Image) -> bool:
    """Whether there is an alpha channel, or a colour that stands for none."""
    palette = getattr(image.palette, "mode", "")
    return (
        image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or palette == "RGBA" or "transparency" in image.info
    )


def _parts(image: Image, samples: Declared) -> tuple[Image, Image | None]:
    """The colours, a picture of its own, and the alpha channel where there is one."""
    key = image.info.get("transparency")
    if image.mode.startswith(("I", "F")):
        grey = _grey(image, samples)
        return grey.convert("RGB"), None if key is None else _mask(image, key)
    if image.mode == "LAB":
        return _from_lab(image), None
    if has_transparency(image) and image.mode not in ("1", "L", "RGB"):
        upright = image.convert("LA") if image.mode == "La" else image
        both = upright.convert("RGBA")
        return both.convert("RGB"), both.getchannel("A")
    mask = (
        None
        if key is None or image.mode not in ("1", "L", "RGB")
        else _mask(image, _scaled_key(key, samples))
    )
    image.info = {name: value for name, value in image.info.items() if name != "transparency"}
    return image.convert("RGB"), mask  # a copy of its own in any case


def _scaled_key(key: object, samples: Declared) -> object:
    """The transparent colour on the scale of the decoded pixels: PNG names it on the file's."""

    def scaled(value: int) -> int:
        if samples.bits > 8:
            return value >> samples.bits - 8
        return value * BYTE // (2**samples.bits - 1) if 1 < samples.bits < 8 else value

    if isinstance(key, tuple):
        return tuple(map(scaled, key))
    return scaled(key) if isinstance(key, int) else key


def _mask(image: Image, key: object) -> Image | None:
    """255 where a pixel isn't of the colour, else 0."""
    import numpy as np
    from PIL import Image

    values = np.asarray(image.convert("L") if image.mode == "1" else image)
    try:
        same = values == np.asarray(key)
        opaque = ~(same.all(axis=-1) if values.ndim == 3 else same)
    except (TypeError, ValueError):
        return None  # no colour of this mode
    if opaque.shape != values.shape[:2]:
        return None
    return Image.fromarray(opaque.astype(np.uint8) * BYTE)


def _grey(image: Image, samples: Declared) -> Image:
    import numpy as np
    from PIL import Image

    values = np.asarray(image)
    if image.mode.startswith("I;16"):
        # A table: 65,536 divisions instead of one a pixel.
        table = _bytes(np.arange(WORD + 1, dtype=np.float64), 2 ** min(samples.bits, 16) - 1)
        grey = table[values]
    elif image.mode == "F":
        finite = np.nan_to_num(values.astype(np.float64))
        grey = _bytes(finite, _float_range(float(finite.max(initial=0.0))))
    else:
        if samples.bits == 32 and not samples.signed and image.format == "TIFF":
            values = values.view(np.uint32)
        grey = _bytes(values.astype(np.float64), _whole_range(int(values.max(initial=0)), samples))
    return Image.fromarray(BYTE - grey if samples.inverted else grey)


def _whole_range(most: int, samples: Declared) -> float:
    if samples.bits < 32:
        return float(2 ** (samples.bits - samples.signed) - 1)
    return float(next(bound for bound in (BYTE, WORD, 2**31 - 1, 2**32 - 1) if most <= bound))


def _float_range(most: float) -> float:
    if most <= UNIT_AT_MOST:
        return 1.0
    return float(next((bound for bound in (BYTE, WORD) if most <= bound), most))


def _bytes(values: Numbers, full: float) -> Bytes:
    import numpy as np

    scaled: Numbers = np.rint(np.clip(values / full, 0.0, 1.0) * BYTE)
    return scaled.astype(np.uint8)


def _from_lab(image: Image) -> Image:
    from PIL import ImageCms

    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    made = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    if made is None:
        raise ValueError("LAB can't be converted")
    return made
