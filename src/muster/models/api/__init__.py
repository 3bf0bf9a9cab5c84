"""What all backends for models behind an API share: how much to ask at once, whom, how often, and when to give up.

Read `model` for the story. `limit`, `breaker` and `endpoints` decide, without a clock of their own; `client` asks;
`traffic` connects it to the stream of requests; `images` and `options` prepare. One file per API does the rest.
"""
