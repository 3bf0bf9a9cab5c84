#!/usr/bin/env bash
# Evaluations ask for temperature 0, so that a second run gives the same answers.
#
# One would guess: Anthropic's Python client takes `temperature`, as the clients of other vendors do.
# What happens (anthropic 2.14.0, which asks for API version 2026-10-21): `temperature`, `top_p` and `top_k` raise a TypeError
# before anything is sent; `extra_body` still sends them. No server is asked here: the transport answers itself.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check anthropic==2.14.0 httpx2==2.16.2

cat > seen.py <<'PYTHON'
import json

import anthropic
import httpx2

ANSWER = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "some-model",
    "content": [{"type": "text", "text": "B"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 1},
}


def answer(request: httpx2.Request) -> httpx2.Response:
    print("sent:", request.headers["anthropic-version"], sorted(json.loads(request.content)))
    return httpx2.Response(200, json=ANSWER)


client = anthropic.Anthropic(
    api_key="none",
    base_url="http://localhost",
    http_client=anthropic.DefaultHttpxClient(transport=httpx2.MockTransport(answer)),
)
question = {"model": "some-model", "max_tokens": 5, "messages": [{"role": "user", "content": "A or B?"}]}
for name in "temperature", "top_p", "top_k":
    try:
        client.messages.create(**question, **{name: 1})
    except TypeError as error:
        print(f"TypeError: {error}")
client.messages.create(**question, extra_body={"temperature": 0})
PYTHON

cat > expected.txt <<'TEXT'
TypeError: Messages.create() got an unexpected keyword argument 'temperature'
TypeError: Messages.create() got an unexpected keyword argument 'top_p'
TypeError: Messages.create() got an unexpected keyword argument 'top_k'
sent: 2026-10-21 ['max_tokens', 'messages', 'model', 'temperature']
TEXT

venv/bin/python seen.py | tee seen.txt
diff expected.txt seen.txt
