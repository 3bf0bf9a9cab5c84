"""A task's samples in little room: each one encoded, and made again whenever somebody looks at it.

As objects a million samples of a few texts take a gigabyte. Encoded they take about what the data file takes, and
what is asked of all of them at once (their ids, whether one shows an image) needs no sample to be made.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import accumulate, islice
from typing import Any, overload

import msgspec

from muster.core import JSON, Media, Sample

IMAGES, VIDEOS, LATER_TURN, FAULT, ANSWERS = (1 << bit for bit in range(5))
"""What can be told of a sample without making it: it shows images, videos, continues another one, can't be asked, has
reference answers."""

_MEDIA = {each.name: each.default for each in fields(Media) if each.name != "kind"}
_PLAIN = frozenset({str, int, float, bool, type(None)})
"""Types that come back from the encoding as what they were."""


class SampleFields(msgspec.Struct, omit_defaults=True, gc=False):
    """The fields of a `Sample` that continues no other one, ten times cheaper to make and to encode."""

    id: str
    question: str
    images: tuple[Media, ...] = ()
    videos: tuple[Media, ...] = ()
    choices: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    metadata: dict[str, Any] = {}
    fault: str = ""

    def sample(self) -> Sample:
        """The sample."""
        return Sample(
            self.id,
            self.question,
            self.images,
            self.videos,
            self.choices,
            self.answers,
            self.metadata,
            fault=self.fault,
        )


class _Id(msgspec.Struct, gc=False):
    id: str


class _Metadata(msgspec.Struct, gc=False):
    metadata: dict[str, Any] = {}


_encoder = msgspec.msgpack.Encoder()
_sample: msgspec.msgpack.Decoder[Sample] = msgspec.msgpack.Decoder(Sample)
_id: msgspec.msgpack.Decoder[_Id] = msgspec.msgpack.Decoder(_Id)
_metadata: msgspec.msgpack.Decoder[_Metadata] = msgspec.msgpack.Decoder(_Metadata)


class Samples(Sequence[Sample]):
    """Samples in their order. Equal to any sequence of equal samples; what it gives is made anew each time.

    Those that the encoding doesn't give back as they were (turns that continue others, bytes of images, metadata that
    isn't JSON, classes of one's own) are kept as they are.
    """

    def __init__(self, samples: Iterable[Sample] = ()) -> None:
        self._encoded = bytearray()
        self._ends = array("Q", [0])
        self._traits = bytearray()
        self._any = 0
        """All their traits together."""
        self._kept: dict[int, Sample] = {}
        for sample in samples:
            self.append(sample)

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> Samples:
        """The same samples; themselves, where they are encoded already."""
        return samples if isinstance(samples, cls) else cls(samples)

    def append(self, sample: Sample | SampleFields) -> None:
        """Add one at the end."""
        traits = _traits(sample)
        try:
            self._encoded += _encoded(sample, traits)
        except (TypeError, ValueError, OverflowError):
            self._kept[len(self._traits)] = sample if isinstance(sample, Sample) else sample.sample()
        self._ends.append(len(self._encoded))
        self._traits.append(traits)
        self._any |= traits

    def extend(self, samples: Sequence[SampleFields]) -> None:
        """Add some that show nothing."""
        try:
            encoded = list(map(_encoder.encode, samples))
        except (ValueError, OverflowError):
            for sample in samples:
                self.append(sample)
            return
        ends = accumulate(map(len, encoded), initial=len(self._encoded))
        self._ends.extend(islice(ends, 1, None))
        self._encoded += b"".join(encoded)
        for sample in samples:
            traits = _traits(sample)
            self._traits.append(traits)
            self._any |= traits

    def __len__(self) -> int:
        return len(self._traits)

    @overload
    def __getitem__(self, index: int) -> Sample: ...

    @overload
    def __getitem__(self, index: slice) -> Samples: ...

    def __getitem__(self, index: int | slice) -> Sample | Samples:
        if isinstance(index, slice):
            return self.chosen(range(len(self))[index])
        number = range(len(self))[index]
        encoded = self._bytes(number)
        return _sample.decode(encoded) if encoded else self._kept[number]

    def __iter__(self) -> Iterator[Sample]:
        start = 0
        for number in range(len(self)):
            end = self._ends[number + 1]
            yield _sample.decode(self._encoded[start:end]) if end > start else self._kept[number]
            start = end

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(
            one == another for one, another in zip(self, other, strict=True)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{len(self)} samples>"

    def id_of(self, number: int) -> str:
        """The id of the one at this place."""
        encoded = self._bytes(number)
        return _id.decode(encoded).id if encoded else self._kept[number].id

    def metadata_of(self, number: int) -> Mapping[str, JSON]:
        """The metadata of the one at this place."""
        encoded = self._bytes(number)
        return _metadata.decode(encoded).metadata if encoded else self._kept[number].metadata

    def ids(self) -> Iterator[str]:
        """Their ids, in order."""
        return map(self.id_of, range(len(self)))

    def traits(self) -> bytes:
        """Of each sample what can be told without making it, a bit each: `IMAGES`, `FAULT` …"""
        return bytes(self._traits)

    def traits_of(self, number: int) -> int:
        """The same of the one at this place."""
        return self._traits[number]

    def having(self, traits: int) -> Iterator[Sample]:
        """The samples that have one of these traits."""
        return (self[number] for number, each in enumerate(self._traits) if each & traits)

    def any_have(self, trait: int) -> bool:
        """Whether one of them has this trait."""
        return bool(self._any & trait)

    def chosen(self, numbers: Iterable[int]) -> Samples:
        """Those at these places, in this order."""
        found = Samples()
        for number in numbers:
            if number in self._kept:
                found._kept[len(found._traits)] = self._kept[number]
            found._encoded += self._bytes(number)
            found._ends.append(len(found._encoded))
            found._traits.append(self._traits[number])
            found._any |= self._traits[number]
        return found

    def _bytes(self, number: int) -> bytearray:
        return self._encoded[self._ends[number] : self._ends[number + 1]]


def _traits(sample: Sample | SampleFields) -> int:
    traits = (ANSWERS if sample.answers else 0) | (FAULT if sample.fault else 0)
    if sample.images:
        traits |= IMAGES
    if sample.videos:
        traits |= VIDEOS
    if isinstance(sample, Sample) and sample.previous is not None:
        traits |= LATER_TURN
    return traits


def _encoded(sample: Sample | SampleFields, traits: int) -> bytes:
    """Raises `ValueError`, `TypeError` or `OverflowError` for one that wouldn't come back as it is."""
    if type(sample) is SampleFields and not traits & (IMAGES | VIDEOS):
        return _encoder.encode(sample)
    if traits & LATER_TURN or type(sample) not in (Sample, SampleFields) or not _is_json(sample.metadata):
        raise TypeError
    written: dict[str, object] = {"id": sample.id, "question": sample.question}
    for name in ("choices", "answers", "metadata", "fault"):
        if value := getattr(sample, name):
            written[name] = value
    for name in ("images", "videos"):
        if media := getattr(sample, name):
            written[name] = [_media(each) for each in media]
    if type(sample) is Sample and not _are_texts(sample):
        raise TypeError
    return _encoder.encode(written)


def _media(media: Media) -> Mapping[str, object]:
    if type(media) is not Media or media.data is not None:
        raise TypeError
    given = {name: value for name, default in _MEDIA.items() if (value := getattr(media, name)) != default}
    return {"kind": media.kind, **given}


def _are_texts(sample: Sample) -> bool:
    """Whether the fields have the types that they are declared with: Python code may have put in anything."""
    texts = (sample.id, sample.question, sample.fault, *sample.choices, *sample.answers)
    return set(map(type, texts)) == {str} and type(sample.choices) is type(sample.answers) is tuple


def _is_json(value: object) -> bool:
    kind = type(value)
    if kind is dict:
        return all(type(key) is str and _is_json(item) for key, item in value.items())  # type: ignore[attr-defined]
    return kind in _PLAIN or (kind is list and all(map(_is_json, value)))  # type: ignore[call-overload]
