"""Pictures and videos as a toolkit's code gives them, in a form that crosses a process boundary without loss.

Nothing is pickled: pixels travel as PNG, files as paths. Equal pixels are encoded and sent once.
"""

from __future__ import annotations

import hashlib
import io
import os
from typing import Any

from muster_toolkit_wire import RefusedError

_PNG_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA"})


class MediaWriter:
    """Describes media; collects the bytes of those that were not sent before."""

    def __init__(self) -> None:
        self._sent: set[str] = set()
        self._fresh: list[bytes] = []

    def take(self) -> list[bytes]:
        """The bytes that belong to what was described since the last call, in that order."""
        fresh, self._fresh = self._fresh, []
        return fresh

    def media(self, value: Any, kind: str) -> list[dict[str, Any]]:
        """`value` as items `{kind, digest, size, fresh}` or `{kind, path, …}`: several for a list of frames.

        Raises `RefusedError` for what is neither a picture nor a video.
        """
        if isinstance(value, (list, tuple)):
            return [item for each in value for item in self.media(each, "image")]
        if isinstance(value, dict):
            return self._mapping(value, kind)
        if isinstance(value, (str, os.PathLike)):
            return [self._named(os.fspath(value), kind)]
        if isinstance(value, (bytes, bytearray)):
            return [self._content(bytes(value), kind)]
        if hasattr(value, "convert") and hasattr(value, "tobytes") and hasattr(value, "mode"):
            return [self._picture(value)]
        if hasattr(value, "__array_interface__") and getattr(value, "ndim", 0) in (2, 3):
            from PIL import Image

            return [self._picture(Image.fromarray(value))]
        raise RefusedError(
            f"its {kind} is a {type(value).__module__}.{type(value).__name__}, which can't be shown"
        )

    def _mapping(self, value: dict[str, Any], kind: str) -> list[dict[str, Any]]:
        kind = value.get("type", kind)
        if kind == "audio" or "array" in value:
            raise RefusedError("it has sound, and Muster's models are asked about images and videos")
        if value.get("bytes") is not None:
            return [self._content(value["bytes"], kind)]
        named = next(
            (value[key] for key in ("url", "path", "video", "image") if value.get(key) is not None), None
        )
        if named is None:
            raise RefusedError(f"its {kind} names no file (it has {', '.join(map(str, value))})")
        items = self.media(named, kind)
        clip = {
            name: float(value[key])
            for name, key in (
                ("start", "video_start"),
                ("end", "video_end"),
                ("start", "start_time"),
                ("end", "end_time"),
            )
            if value.get(key) is not None
        }
        return [{**item, **clip} if item["kind"] == "video" else item for item in items]

    def _named(self, name: str, kind: str) -> dict[str, Any]:
        if name.startswith(("http://", "https://")):
            return {"kind": kind, "url": name}
        if name.startswith("data:"):
            import base64

            return self._content(base64.b64decode(name.partition(",")[2]), kind)
        path = os.path.abspath(os.path.expanduser(name.removeprefix("file://")))  # noqa: PTH100, PTH111
        if not os.path.exists(path):  # noqa: PTH110
            raise RefusedError(f"its {kind} isn't there: {path}")
        return {"kind": kind, "path": path}

    def _content(self, content: bytes, kind: str) -> dict[str, Any]:
        if kind != "image":
            raise RefusedError(f"its {kind} is bytes and no file")
        return self._put(hashlib.blake2b(content, digest_size=16).hexdigest(), content)

    def _picture(self, picture: Any) -> dict[str, Any]:
        if picture.mode not in _PNG_MODES:
            picture = picture.convert("RGB")
        palette = bytes(picture.getpalette() or ()) if picture.mode == "P" else b""
        transparency = repr(picture.info.get("transparency")).encode()
        digest = hashlib.blake2b(digest_size=16)
        for part in (repr((picture.mode, picture.size)).encode(), palette, transparency, picture.tobytes()):
            digest.update(b"%d:" % len(part) + part)
        name = digest.hexdigest()
        if name in self._sent:
            return {"kind": "image", "digest": name, "fresh": False}
        stream = io.BytesIO()
        kept = {"transparency": picture.info["transparency"]} if "transparency" in picture.info else {}
        picture.save(stream, "PNG", compress_level=1, exif=b"", icc_profile=None, **kept)
        return self._put(name, stream.getvalue())

    def _put(self, digest: str, content: bytes) -> dict[str, Any]:
        if digest in self._sent:
            return {"kind": "image", "digest": digest, "fresh": False}
        self._sent.add(digest)
        self._fresh.append(content)
        return {"kind": "image", "digest": digest, "size": len(content), "fresh": True}
