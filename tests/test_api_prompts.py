"""What is sent to APIs, and what their errors mean: no server needed.

Guards against images that a model behind an API sees otherwise than one that runs here, prompts that no server takes,
errors that are taken for another kind, and addresses and keys that end up where they can be read.
"""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from api_servers import question
from muster.core import ConfigurationError, Media, Message, Part, Request, RequestKey, RunError, SampleError
from muster.media import load_image
from muster.models.api.failures import (
    Asked,
    DeniedError,
    OverloadedError,
    Refusal,
    UnavailableError,
    judge,
    read_error_body,
    read_retry_after,
)
from muster.models.api.images import ImageLimits, encode_image
from muster.models.api.options import ApiOptions, base_urls, parse_options, providers
from muster.models.openai.messages import ChatFormat

FILM = b"\x00\x00\x00\x18ftypisom"
"""How an MP4 begins."""
NOISE = Image.effect_noise((300, 200), 90).convert("RGB")


def file_of(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def pixels(data: bytes) -> bytes:
    return load_image(Media("image", data=data)).tobytes()


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return file_of(NOISE, "JPEG", exif=exif)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_a_plain_file_is_sent_as_it_is(form: str, tmp_path: Path) -> None:
    data = file_of(NOISE, form)
    (tmp_path / "image").write_bytes(data)
    for media in (Media("image", data=data), Media("image", path=str(tmp_path / "image"))):
        encoded = encode_image(media, ImageLimits(10_000_000, 1000))
        assert encoded == (f"image/{form.lower()}", data, None)
    assert encoded.data_uri == f"data:image/{form.lower()};base64,{base64.b64encode(data).decode()}"


@pytest.mark.parametrize(
    "data",
    [
        turned(),
        file_of(NOISE.convert("RGBA"), "PNG"),
        file_of(NOISE.convert("LA"), "PNG"),
        file_of(NOISE.convert("CMYK"), "JPEG"),
        file_of(NOISE, "BMP"),
        file_of(NOISE, "TIFF"),
        file_of(NOISE, "GIF", save_all=True, append_images=[NOISE.rotate(90)]),
    ],
    ids=["EXIF", "RGBA", "LA", "CMYK", "BMP", "TIFF", "animated"],
)
def test_what_others_may_show_differently_is_sent_as_the_pixels_that_muster_sees(data: bytes) -> None:
    encoded = encode_image(Media("image", data=data), ImageLimits())
    assert encoded.media_type == "image/png"
    assert encoded.note is None
    assert pixels(encoded.data) == pixels(data)


def test_what_is_too_large_is_scaled_and_that_is_noted() -> None:
    encoded = encode_image(Media("image", data=file_of(NOISE, "PNG")), ImageLimits(side=150))
    assert load_image(Media("image", data=encoded.data)).size == (150, 100)
    assert encoded.note == "scaled from 300×200 to 150×100 pixels"


@pytest.mark.parametrize("most", [60_000, 20_000, 2_000])
def test_what_is_too_many_bytes_fits_afterwards(most: int) -> None:
    encoded = encode_image(Media("image", data=file_of(NOISE, "PNG")), ImageLimits(bytes=most))
    assert len(encoded.data) <= most
    assert encoded.media_type == "image/jpeg"
    assert encoded.note is not None
    assert "JPEG of quality" in encoded.note


@pytest.mark.parametrize(
    ("media", "message"),
    [
        (Media("image", data=b"no image"), "can't be decoded"),
        (Media("image", path="/no/such/file.png"), "does not exist"),
        (Media("image", url="https://example.org/a.png"), "image_urls=true"),
        (Media("video", data=b"x"), "can't be read as a video"),
    ],
)
def test_what_cant_be_sent_is_the_samples_error(media: Media, message: str) -> None:
    with pytest.raises(SampleError, match=message):
        ChatFormat("m").body(question(media=(media,)))


def test_text_and_images_keep_their_order_and_roles() -> None:
    small = file_of(NOISE.resize((2, 2)), "PNG")
    image, address = Media("image", data=small), Media("image", url="https://example.org/a.png")
    request = Request(
        RequestKey("t", "s"),
        (
            Message("system", (Part(text="Be brief."),)),
            Message("user", (Part(text="First"), Part(media=image), Part(text="then"), Part(media=address))),
            Message("assistant", (Part(text="Yes."),)),
            Message("user", (Part(media=Media("video", data=FILM)),)),
        ),
    )
    body = json.loads(ChatFormat("m", image_urls=True, video="video_url").body(request).body)
    uri = f"data:image/png;base64,{base64.b64encode(small).decode()}"
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "First"},
                {"type": "image_url", "image_url": {"url": uri}},
                {"type": "text", "text": "then"},
                {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
            ],
        },
        {"role": "assistant", "content": "Yes."},
        {
            "role": "user",
            "content": [
                {
                    "type": "video_url",
                    "video_url": {"url": f"data:video/mp4;base64,{base64.b64encode(FILM).decode()}"},
                }
            ],
        },
    ]


def test_more_images_than_the_server_takes_are_said_without_asking() -> None:
    image = Media("image", data=file_of(NOISE, "PNG"))
    assert ChatFormat("m", max_images=2).body(question(media=(image, image)))
    with pytest.raises(SampleError, match="3 images, and max_images=2"):
        ChatFormat("m", max_images=2).body(question(media=(image,) * 3))


ASKED = Asked("http://s/v1", "m", "KEY")


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [
        (Refusal(400, "x"), SampleError),
        (Refusal(413, ""), SampleError),
        (Refusal(401, "x"), DeniedError),
        (Refusal(404, "x"), DeniedError),
        (Refusal(405, "x"), DeniedError),
        (Refusal(308, "x"), DeniedError),
        (Refusal(402, "x"), RunError),
        (Refusal(400, "Your credit balance is too low to access the API"), RunError),
        (Refusal(408, "x"), OverloadedError),
        (Refusal(429, "x"), OverloadedError),
        (Refusal(529, "x"), OverloadedError),
        (Refusal(503, "x", "", 3.0), OverloadedError),
        (Refusal(503, "x"), UnavailableError),
        (Refusal(500, "x"), UnavailableError),
    ],
)
def test_each_status_means_one_thing(refusal: Refusal, kind: type[Exception]) -> None:
    assert type(judge(refusal, ASKED)) is kind


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after-ms": "1500", "retry-after": "7"}, 1.5),
        ({"retry-after": "Sun, 06 Nov 1994 08:49:47 GMT"}, 10.0),
        ({"retry-after": "Sun, 06 Nov 1994 08:00:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "inf"}, None),
        ({}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert read_retry_after(headers, now=784111777.0) == seconds


JSON_VALUES = st.recursive(
    st.none() | st.text(max_size=9) | st.integers(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["error", "message", "code", "x"]), inner)
    ),
    max_leaves=8,
)


@given(st.one_of(st.binary(max_size=300), JSON_VALUES.map(lambda value: json.dumps(value).encode())))
@settings(max_examples=50, deadline=None)
def test_any_body_of_an_error_can_be_read(body: bytes) -> None:
    message, code = read_error_body(body)
    assert len(message) <= 500
    assert "\n" not in message
    assert isinstance(code, str)
    message.encode()


def test_bodies_of_errors_as_servers_write_them() -> None:
    assert read_error_body(b'{"error":{"message":"a","code":"b"}}') == ("a", "b")
    assert read_error_body(b'{"object":"error","message":"a","code":404}') == ("a", "404")
    assert read_error_body(b'{"detail":"Not Found"}') == ("Not Found", "")
    assert read_error_body(b'{"error":"model \'x\' not found"}') == ("model 'x' not found", "")
    assert read_error_body(b'[{"error":{"message":"a","code":400}}]') == ("a", "400")
    assert read_error_body(b"<html><b>502</b> Bad\nGateway</html>") == ("502 Bad Gateway", "")


def test_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("V", raising=False)
    assert [url.url for url in base_urls(None, "V", "https://a.com/v1/")] == ["https://a.com/v1"]
    monkeypatch.setenv("V", "http://b:1/v1")
    assert [url.url for url in base_urls(None, "V", "https://a.com/v1")] == ["http://b:1/v1"]
    for several in ("[http://a:1/v1,http://b:2/v1]", ["http://a:1/v1", "http://b:2/v1"]):
        assert [url.url for url in base_urls(several, "V", "")] == ["http://a:1/v1", "http://b:2/v1"]
    (url,) = base_urls("http://ann:p%40ss@[::1]:80/v1", "V", "")
    assert (url.url, url.user, url.password) == ("http://[::1]:80/v1", "ann", "p@ss")
    for wrong in ("localhost:8000", "ftp://a/v1", "http://", "http://a:port/v1", [" "]):
        with pytest.raises(ConfigurationError, match="base_url"):
            base_urls(wrong, "V", "")
    with pytest.raises(ConfigurationError, match="twice"):
        base_urls(["http://a/v1", "http://a/v1/"], "V", "")
    with pytest.raises(ConfigurationError) as raised:
        base_urls("ftp://ann:s3cret@a/v1", "V", "")
    assert "s3cret" not in str(raised.value)


def test_only_a_provider_is_part_of_what_answers() -> None:
    """A server of one's own stands on another node tomorrow; the run must go on."""
    urls = base_urls(
        ["https://api.example.com/v1", "http://10.0.0.7/v1", "http://node7.cluster.edu/v1"], "V", ""
    )
    assert providers(urls) == ["api.example.com"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"base_ulr": "x"}, "did you mean 'base_url'"),
        ({"timeout": 0}, "timeout"),
        ({"max_retries": -1}, "max_retries"),
        ({"extra_body": "x"}, "extra_body"),
    ],
)
def test_wrong_arguments_are_named(args: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        parse_options(args, ApiOptions)  # type: ignore[arg-type]
