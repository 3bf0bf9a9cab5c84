"""Model arguments, and what is said when a model can't be loaded."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from muster.core import JSON, ConfigurationError, Message, Part
from muster.models.protocol import Model, ModelSettings
from muster.models.transformers import TransformersModel
from muster.models.transformers.options import parse_options
from muster.models.transformers.prompts import flat_text
from tiny_models import model_folder
from tiny_requests import answers, ask, noise, texts


@pytest.fixture(scope="module")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_folder("qwen2_5_vl", tmp_path_factory)


@pytest.fixture(scope="module")
def paligemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model_folder("paligemma", tmp_path_factory)


def load(folder: Path, **args: JSON) -> TransformersModel:
    return TransformersModel(ModelSettings(str(folder), args=args))


def test_naming_the_backend_imports_neither_torch_nor_transformers() -> None:
    script = (
        "import sys; from muster.models.registry import load_backend; load_backend('transformers');"
        "print([name for name in ('torch', 'transformers', 'PIL.Image', 'huggingface_hub') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_the_backend_keeps_the_contract(qwen: Path) -> None:
    model = load(qwen)
    assert isinstance(model, Model)
    assert not model.batched, "rows end one by one"
    assert model.slots == 16


def test_a_model_with_code_of_its_own_is_pointed_to_its_backend(qwen: Path, tmp_path: Path) -> None:
    """InternVL's folders have no processor that transformers knows; the error alone leads nowhere."""
    folder = tmp_path / "chatty"
    folder.mkdir()
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(qwen / file, folder)
    (folder / "config.json").write_text('{"model_type": "llama", "auto_map": {"AutoModel": "chatty.Model"}}')
    with pytest.raises(ConfigurationError, match="--backend chat"):
        load(folder)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ConfigurationError) as plain:
        load(folder)
    assert "--backend chat" not in str(plain.value)


def test_arguments_go_to_whom_they_concern() -> None:
    options = parse_options(
        {
            "torch_dtype": "float16",
            "attn_implementation": "sdpa",
            "device_map": "auto",
            "load_in_4bit": True,
            "bnb_4bit_quant_type": "nf4",
            "min_pixels": 3136,
            "processor_do_pad": False,
            "generation_repetition_penalty": 1.1,
        }
    )
    assert options.dtype == "float16"
    assert options.device_map == "auto"
    assert options.quantization == {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
    assert options.processor == {"min_pixels": 3136, "do_pad": False}
    assert options.generation == {"repetition_penalty": 1.1}
    assert options.model == {"attn_implementation": "sdpa"}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"device": "cpu", "device_map": "auto"}, "either device or device_map"),
        ({"generation_temperature": 0.7}, "--temperature"),
        ({"generation_num_beams": 4}, "one sequence"),
        ({"trust_remote_code": True}, "--trust-remote-code"),
        ({"weights_only": False}, "could run code"),
        ({"dtype": 16}, "expected a text"),
    ],
)
def test_contradictory_arguments_are_refused(args: dict[str, JSON], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        parse_options(args)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"no_such_argument": 1}, "no_such_argument"),
        ({"dtype": "float17"}, "dtype=float17"),
        ({"device": "gpu"}, "device=gpu"),
        ({"device": "cuda:9"}, "sees 0 GPUs"),
        ({"attn_implementation": "no_such_attention"}, "no_such_attention"),
        ({"load_in_4bit": True}, "bitsandbytes"),
        ({"processor_max_patches": 4}, "has no such setting"),
        ({"generation_no_such": 4}, "no_such"),
        ({"chat_template": "/no/such.jinja"}, "no such file"),
    ],
)
def test_arguments_that_nobody_takes_are_errors(qwen: Path, args: dict[str, JSON], message: str) -> None:
    """Ignoring one silently would report scores for settings that were never in force."""
    with pytest.raises(ConfigurationError, match=message):
        load(qwen, **args)


def test_pixel_limits_change_the_number_of_image_tokens(qwen: Path) -> None:
    request = ask("0", "what?", [noise(0, 64, 64)])
    counts = {
        limit: answers(load(qwen, max_pixels=limit), [request])["0"].usage.prompt_tokens
        for limit in (16 * 16, 32 * 32)
    }
    assert counts[32 * 32] == (counts[16 * 16] or 0) + 3


def test_a_repetition_penalty_is_in_force(qwen: Path) -> None:
    request = ask("0", "what?", [noise(0)])
    plain = texts(answers(load(qwen), [request]))
    assert texts(answers(load(qwen, generation_repetition_penalty=5.0), [request])) != plain


def test_lower_precision_is_in_force(qwen: Path) -> None:
    model = load(qwen, dtype="bfloat16")
    assert str(model._loaded.model.dtype) == "torch.bfloat16"
    assert len(texts(answers(model, [ask("0", "what?", [noise(0)]), ask("1", "x", [noise(1)])]))) == 2


def test_sampling_settings_of_the_checkpoint_do_not_leak_in(qwen: Path, tmp_path: Path) -> None:
    """Qwen's checkpoints ask for sampling; a task that asks for greedy decoding must get it."""
    folder = tmp_path / "sampling"
    shutil.copytree(qwen, folder)
    settings = json.loads((folder / "generation_config.json").read_text())
    settings |= {"do_sample": True, "temperature": 9.0, "top_k": 50, "max_length": 20}
    (folder / "generation_config.json").write_text(json.dumps(settings))
    requests = [ask("0", "what?", [noise(0)])]
    assert texts(answers(load(folder), requests)) == texts(answers(load(qwen), requests))


def test_a_checkpoint_in_the_hubs_older_layout_loads(qwen: Path, tmp_path: Path) -> None:
    """Published Qwen folders keep processor, image processor and template in other files than transformers 5 writes.

    They also name a video processor; without torchvision AutoProcessor refuses the whole folder for it.
    """
    folder = tmp_path / "older"
    shutil.copytree(qwen, folder)
    processor = folder / "processor_config.json"
    images = json.loads(processor.read_text())["image_processor"]
    images |= {"processor_class": "Qwen2_5_VLProcessor", "image_processor_type": "Qwen2VLImageProcessor"}
    processor.unlink()
    (folder / "preprocessor_config.json").write_text(json.dumps(images))
    template = folder / "chat_template.jinja"
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": template.read_text()}))
    template.unlink()
    requests = [ask("0", "what?", [noise(0)])]
    assert texts(answers(load(folder), requests)) == texts(answers(load(qwen), requests))


def test_a_tokenizer_without_padding_pads_with_its_end_token(qwen: Path, tmp_path: Path) -> None:
    folder = tmp_path / "no-pad"
    shutil.copytree(qwen, folder)
    for file, names in (
        ("tokenizer_config.json", ["pad_token"]),
        ("generation_config.json", ["pad_token_id"]),
    ):
        settings = json.loads((folder / file).read_text())
        for name in names:
            settings.pop(name)
        (folder / file).write_text(json.dumps(settings))
    requests = [ask("0", "what?", [noise(0)]), ask("1", "why is it so?", [noise(1)])]
    assert texts(answers(load(folder), requests)) == texts(answers(load(qwen), requests))


def test_a_template_of_ones_own_replaces_the_models(qwen: Path, tmp_path: Path) -> None:
    template = tmp_path / "plain.jinja"
    template.write_text(
        "{% for m in messages %}{% for p in m['content'] %}{% if p['type'] == 'image' %}"
        "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ p['text'] }}{% endif %}{% endfor %}{% endfor %}"
    )
    request = ask("0", "what?", [noise(0)])
    own = answers(load(qwen, chat_template=str(template)), [request])["0"]
    models = answers(load(qwen), [request])["0"]
    assert (models.usage.prompt_tokens or 0) - (own.usage.prompt_tokens or 0) == len("[user] [assistant] ")


def test_a_template_that_refuses_a_message_is_a_sample_failure(qwen: Path, tmp_path: Path) -> None:
    template = tmp_path / "strict.jinja"
    template.write_text("{{ raise_exception('System role not supported') }}")
    failure = answers(load(qwen, chat_template=str(template)), [ask("0", "x", [noise(0)])])["0"].failure
    assert failure is not None
    assert "System role not supported" in failure.message


def test_a_template_for_text_models_gets_texts_not_lists(qwen: Path, tmp_path: Path) -> None:
    """Such a template prints a list of parts as Python would, and the model is asked "[{'type': 'text' …"."""
    template = tmp_path / "text.jinja"
    template.write_text("{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}|{% endfor %}")
    blind = answers(load(qwen, chat_template=str(template)), [ask("0", "what?")])["0"]
    assert blind.usage.prompt_tokens == len("user: what?|")


def test_a_model_without_a_template_gets_images_and_text_in_order(paligemma: Path) -> None:
    image = Part(media=noise(0))
    parts = (Part(text="Left: "), image, Part(text=" right: "), image)
    assert flat_text(Message("user", parts), "<image>") == "Left: <image> right: <image>"
    model = load(paligemma)
    plain, system = answers(
        model, [ask("0", "what?", [noise(0)]), ask("1", "what?", [noise(0)], system="Hm")]
    ).values()
    assert plain.usage.prompt_tokens == 4 + 1 + len("what?") + len("\n")  # the image, and BOS after it
    assert system.usage.prompt_tokens == plain.usage.prompt_tokens + len("Hm\n")


def test_a_folder_without_a_processor_says_so(qwen: Path, tmp_path: Path) -> None:
    folder = tmp_path / "no-processor"
    shutil.copytree(qwen, folder)
    (folder / "processor_config.json").unlink()
    with pytest.raises(ConfigurationError, match="processor"):
        load(folder)


def test_a_damaged_weights_file_says_so(qwen: Path, tmp_path: Path) -> None:
    folder = tmp_path / "torn"
    shutil.copytree(qwen, folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(ConfigurationError, match="can't be loaded"):
        load(folder)


def test_weights_that_lack_parameters_are_refused(qwen: Path, tmp_path: Path) -> None:
    """Transformers fills what is missing with random numbers and a warning; the scores would be noise."""
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "incomplete"
    shutil.copytree(qwen, folder)
    tensors = load_file(folder / "model.safetensors")
    lost = next(name for name in tensors if "layers.1" in name)
    del tensors[lost]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigurationError, match="lack 1 of the model's parameters"):
        load(folder)
