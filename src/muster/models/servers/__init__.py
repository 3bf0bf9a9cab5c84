"""Backends that start an inference server of their own for each replica, and ask it as the openai backend does.

`backend` is the story; `options` what is asked for; `command` how each kind of server is started; `server` one that
runs: started, waited for, watched and ended. The server may live in another Python environment.
"""

from muster.models.registry import require

require("openai", "aiohttp")

from muster.models.servers.backend import SglangServerModel, VllmServerModel  # noqa: E402

__all__ = ["SglangServerModel", "VllmServerModel"]
