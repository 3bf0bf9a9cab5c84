"""As vLLM's module of this name."""


def parse_model_prompt(model_config: object, prompt: object) -> object:
    del model_config
    assert isinstance(prompt, dict)
    return prompt
