"""How likely given texts are after a prompt: as a plain forward pass has it; who can't say is refused first."""

from __future__ import annotations

from pathlib import Path

import pytest

from muster.core.likelihood import Likelihood, as_text, from_text
from muster.demo import demo_model_path
from muster.models.protocol import ModelSettings
from processes import Run, fake, run_muster, start, with_fake_toolkit
from tiny_requests import answers, likelihood_requests, texts


@pytest.mark.parametrize("batching", ["static", "auto"])
def test_likelihoods_are_those_of_a_plain_forward_pass(batching: str) -> None:
    import torch

    from muster.models.transformers import TransformersModel

    settings = ModelSettings(str(demo_model_path()), {"device": "cpu", "batching": batching}, batch_size=4)
    model = TransformersModel(settings)
    requests = likelihood_requests()
    said = texts(answers(model, requests))
    network, tokenizer = model._loaded.model, model._loaded.processor.tokenizer
    for request in requests:
        found = from_text(said[request.key.sample_id])
        assert len(found) == len(request.continuations)
        batch = model._preparer.batch([request])
        for option, likelihood in zip(request.continuations, found, strict=True):
            tokens = tokenizer.encode(option, add_special_tokens=False)
            inputs = dict(batch.inputs)
            prompt = inputs["input_ids"].shape[1]
            inputs["input_ids"] = torch.cat([inputs["input_ids"], torch.tensor([tokens])], dim=1)
            inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
            with torch.inference_mode():
                logits = network(**inputs).logits[0, prompt - 1 : -1].float()
            every = torch.log_softmax(logits, dim=-1)
            summed = sum(every[place, token].item() for place, token in enumerate(tokens))
            assert likelihood.log_probability == pytest.approx(summed, rel=1e-6)
            assert likelihood.tokens == len(tokens)
            assert likelihood.greedy == (logits.argmax(dim=-1).tolist() == tokens)


@pytest.fixture
def python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return with_fake_toolkit(tmp_path, monkeypatch)


def test_a_toolkits_task_that_compares_options_is_scored_by_its_code(tmp_path: Path, python: Path) -> None:
    tasks = ["--tasks", "lmms-eval:likelihood,lmms-eval:colours", "--lmms-eval-python", str(python)]
    run: Run = start(
        tmp_path / "run", "--model", "demo", *tasks, "--model-args", "device=cpu", "--progress", "none"
    )
    assert run.wait() == 0, run.stderr
    said = {
        str(r.completion.key): r.completion.text or ""
        for r in run.journal()
        if "likeli" in r.completion.key.task
    }
    places = []
    for text in said.values():
        means = [each.log_probability / each.tokens for each in from_text(text)]
        places.append(means.index(max(means)))
    assert len(places) == 4
    scored = run.results().tasks["lmms-eval:likelihood"].metrics["place"].value
    assert scored == sum(places) / 4
    again = start(
        tmp_path / "again", "--model", str(run.output), "--backend", "replay", *tasks, "--progress", "none"
    )
    assert again.wait() == 0, again.stderr
    assert again.results().tasks["lmms-eval:likelihood"].metrics["place"].value == scored


def test_a_backend_that_cannot_say_is_refused_before_anything_is_loaded(tmp_path: Path, python: Path) -> None:
    tasks = ["--tasks", "lmms-eval:likelihood", "--lmms-eval-python", str(python)]
    for backend in (
        ["--backend", fake("Echo")],
        ["--backend", "openai", "--model-args", "base_url=http://127.0.0.1:9"],
    ):
        done = run_muster("run", "--output", str(tmp_path / "run"), "--model", "m", *backend, *tasks)
        assert done.returncode == 2
        assert "asks how likely each option is after the prompt" in done.stderr


def test_no_digit_is_lost() -> None:
    values = [Likelihood(-0.1 - 0.2, 3, True), Likelihood(-1e-300, 1, False)]
    assert from_text(as_text(values)) == values
    for other in ("", "Yes", "[1]", "[[1]]"):
        with pytest.raises(ValueError, match=r"."):
            from_text(other)
