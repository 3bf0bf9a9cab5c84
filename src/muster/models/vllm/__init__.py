"""The vllm backend: vLLM's asynchronous engine in the worker's own process.

`backend` is the story; `options` what is asked for; `engine` starts the engine; `prompts` and `answers` are the two
ends of a request; `room` how many it is given. Only `engine` imports vLLM.
"""
