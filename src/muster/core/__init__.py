"""The words everything else is written in. Imports nothing of the project, and nothing heavy."""

from muster.core.completion import Completion, Failure, Usage
from muster.core.errors import (
    BrokenContractError,
    ConfigurationError,
    EndedByCodeError,
    FailureKind,
    InterruptedRunError,
    Interruption,
    LostMemberError,
    MissingExtraError,
    MusterError,
    ReplicaError,
    RequestError,
    RunError,
    RunTimeoutError,
    SampleError,
    TransientError,
)
from muster.core.image import ImageSettings, Transparency
from muster.core.media import Extent, Media, MediaKind
from muster.core.request import Generation, Message, Part, Request, RequestKey, Role
from muster.core.sample import JSON, Sample
from muster.core.video import Clip, SamplingName, SubtitleUse, VideoSettings

__all__ = [
    "JSON",
    "BrokenContractError",
    "Clip",
    "Completion",
    "ConfigurationError",
    "EndedByCodeError",
    "Extent",
    "Failure",
    "FailureKind",
    "Generation",
    "ImageSettings",
    "InterruptedRunError",
    "Interruption",
    "LostMemberError",
    "Media",
    "MediaKind",
    "Message",
    "MissingExtraError",
    "MusterError",
    "Part",
    "ReplicaError",
    "Request",
    "RequestError",
    "RequestKey",
    "Role",
    "RunError",
    "RunTimeoutError",
    "Sample",
    "SampleError",
    "SamplingName",
    "SubtitleUse",
    "TransientError",
    "Transparency",
    "Usage",
    "VideoSettings",
]
