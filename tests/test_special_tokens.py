"""A model's special tokens in a question's own words: text, not the end of a turn, and not a second image.

`test_family_table.py` holds every family's processor against transformers' own `sanitize_control_tokens`.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from muster.core import Message, Part, Sample, SampleError
from muster.demo import demo_model_path
from muster.models.chat.questions import question_of
from muster.models.transformers import tokens_as_text
from muster.models.transformers.options import Options
from muster.models.transformers.preparation import Preparer
from muster.models.transformers.processor import load_processor
from muster.models.transformers.prompts import PromptRenderer
from muster.tasks.checking import check_task
from muster.tasks.prompts import TemplatePrompt
from muster.tasks.registry import load_tasks
from muster.tasks.special_tokens import lookalikes, written_in
from tiny_requests import ask, noise


@pytest.mark.parametrize(
    "token",
    ["<image>", "<video>", "<|im_end|>", "<|endoftext|>", "</s>", "<pad>", "[INST]", "<start_of_turn>", "<IMG_CONTEXT>",
     "<|image_pad|>", "<\uff5cend\u2581of\u2581sentence\uff5c>", "<row_1_col_1>", "<loc0001>", "</think>", "[SEP]"],
)  # fmt: skip
def test_the_special_tokens_of_models_in_use_are_known(token: str) -> None:
    assert lookalikes([Message("user", (Part(f"what does {token} do?"),))]) == (token,)


@pytest.mark.parametrize(
    "text", ["a < b > c", "<div>", "x<|y", "[1]", "f(x)|g", "<stdio.h>", "1 <2> 3", "|->|"]
)
def test_other_words_are_not(text: str) -> None:
    assert lookalikes([Message("user", (Part(text),))]) == ()


def test_what_a_template_says_is_meant() -> None:
    prompt = TemplatePrompt("Where is <ref>{{ question }}</ref>?", system="<|think|> first")
    system, user = prompt.render(Sample("1", "the <box> in </ref>"))
    assert (system.special_tokens, user.special_tokens) == (("<|think|>",), ("<ref>", "</ref>"))
    assert lookalikes([system, user]) == ("<box>",)
    assert written_in(["<image> {{ question }} <video>", "{% if a < b %}x{% endif %}"]) == ()


def test_the_check_names_the_samples(tmp_path: Path) -> None:
    """In questions, options, examples and earlier answers."""
    rows = [
        {"id": "plain", "question": "what?", "choices": ["x", "y"], "answer": "A"},
        {"id": "asked", "question": "what is <|im_end|>?", "choices": ["x", "y"], "answer": "A"},
        {"id": "offered", "question": "which?", "choices": ["<image>", "</s>"], "answer": "A"},
    ]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    entry = {"name": "t", "source": {"file": "d.jsonl"}, "metric": "multiple_choice"}
    (tmp_path / "t.yaml").write_text(yaml.safe_dump(entry))
    [task] = load_tasks([str(tmp_path / "t.yaml")])
    report = check_task(task, None)
    assert report.passed
    (told,) = (warning for warning in report.warnings if "special token" in warning)
    assert told.startswith("2 samples")
    assert told.endswith("sample asked: <|im_end|>; sample offered: <image> </s>")
    entry["prompt"] = {"examples": {"count": 2}}
    (tmp_path / "t.yaml").write_text(yaml.safe_dump(entry))
    [task] = load_tasks([str(tmp_path / "t.yaml")])
    assert any("3 samples" in warning for warning in check_task(task, None).warnings)


def test_a_chat_method_fails_the_sample() -> None:
    turns = [
        Message("user", (Part("Hi"),)),
        Message("assistant", (Part("a </s> b"),)),
        Message("user", (Part("x"),)),
    ]
    with pytest.raises(SampleError, match="</s>"):
        question_of(turns, special=["</s>", "<ref>"])
    meant = Message("user", (Part("<ref>x</ref>"),), ("<ref>", "</ref>"))
    assert question_of([meant], special=["</s>", "<ref>"]).text == "<ref>x</ref>"


def test_a_backend_that_cannot_ask_them_as_text_says_so() -> None:
    processor = load_processor(demo_model_path(), Options(), trust_remote_code=False)
    token = processor.tokenizer.eos_token
    assert token
    with pytest.raises(SampleError, match="this backend can't"):
        PromptRenderer(processor, as_text=False).render(ask("a", f"what is {token}?").messages)


def test_an_older_transformers_fails_the_sample_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would ask another question."""
    monkeypatch.setattr(tokens_as_text, "can_encode", lambda: False)
    processor = load_processor(demo_model_path(), Options(), trust_remote_code=False)
    token = processor.tokenizer.eos_token
    requests = [ask("a", f"what is {token}?", [noise(1)]), ask("b", "what?", [noise(2)])]
    prepared = Preparer(processor, None).prepare(requests)
    assert [len(batch) for batch in prepared.batches] == [1]
    (failure,) = prepared.failures
    assert failure.failure is not None
    assert "5.24" in failure.failure.message
    assert failure.failure.kind == "sample"


@pytest.mark.skipif(not tokens_as_text.can_encode(), reason="transformers 5.24 or newer asks tokens as text")
def test_a_token_that_the_task_means_stays_one() -> None:
    processor = load_processor(demo_model_path(), Options(), trust_remote_code=False)
    token = processor.tokenizer.eos_token
    assert token
    meant = Message("user", (Part(f"read {token} this"),), (token,))
    request = ask("a", "", [])
    [batch] = Preparer(processor, None).prepare([type(request)(request.key, (meant,))]).batches
    number = processor.tokenizer.convert_tokens_to_ids(token)
    as_text = Message("user", (Part(f"read {token} this"),))
    [other] = Preparer(processor, None).prepare([type(request)(request.key, (as_text,))]).batches
    counts = [int((each.inputs["input_ids"] == number).sum()) for each in (batch, other)]
    assert counts[0] == counts[1] + 1
    assert "read" in processor.tokenizer.decode(
        other.inputs["input_ids"][0].tolist(), skip_special_tokens=True
    )
