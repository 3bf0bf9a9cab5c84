"""Prompts: what the model is asked, and where its images stand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.core import ConfigurationError, Media, Part, Sample
from muster.tasks.prompts import TemplatePrompt

ONE, TWO, CLIP = (Media("image", path="/1.png"), Media("image", path="/2.png"), Media("video", path="/c.mp4"))


def parts(template: str | None, sample: Sample) -> list[str]:
    """The user message, media by their path."""
    prompt = TemplatePrompt() if template is None else TemplatePrompt(template)
    [message] = prompt.render(sample)
    return [part.media.path or "" if part.media else part.text or "" for part in message.parts]


def ask(question: str = "Q?", *media: Media, choices: tuple[str, ...] = (), **metadata: str) -> Sample:
    images = tuple(each for each in media if each.kind == "image")
    videos = tuple(each for each in media if each.kind == "video")
    return Sample("s1", question, images, videos, choices, ("secret",), metadata)


def test_the_default_asks_the_question_and_offers_letters() -> None:
    assert parts(None, ask("What?", ONE)) == ["/1.png", "What?"]
    assert parts(None, ask("What?", choices=("cat", "dog"))) == [
        "What?\n\nA. cat\nB. dog\nAnswer with the letter of the correct option."
    ]


def test_all_variables() -> None:
    template = (
        "{{question}}|{{choices[1]}}|{{letters|join}}|{{metadata.kind}}|{{image_count}}{{video_count}}  \n"
    )
    sample = ask("Q", ONE, TWO, CLIP, choices=("a", "b"), kind="k")
    assert parts(template, sample)[-1] == "Q|b|AB|k|21"


def test_media_come_first_without_markers_images_before_videos() -> None:
    assert parts("{{ question }}", ask("Q?", CLIP, ONE, TWO)) == ["/1.png", "/2.png", "/c.mp4", "Q?"]


def test_markers_place_media_and_keep_the_text_around_them() -> None:
    assert parts("a <image>\n<image> b {{ question }}\n", ask("Q?", ONE, TWO)) == [
        "a ",
        "/1.png",
        "\n",
        "/2.png",
        " b Q?",
    ]
    assert parts("<image 2><image 1>", ask("Q?", ONE, TWO)) == ["/2.png", "/1.png"]
    assert parts("{{ question }} <video>", ask("Q?", ONE, CLIP)) == ["/1.png", "Q? ", "/c.mp4"]
    assert parts("{% for i in range(image_count) %}{{ i }}<image>{% endfor %}", ask("Q?", ONE, TWO)) == [
        "0",
        "/1.png",
        "1",
        "/2.png",
    ]


@pytest.mark.parametrize(
    ("template", "media"),
    [
        ("<image>", ()),
        ("<image>", (ONE, TWO)),
        ("<image><image>", (ONE,)),
        ("<image 2>", (ONE, TWO)),
        ("<image 1><image>", (ONE, TWO)),
        ("<video>", (ONE,)),
    ],
)
def test_markers_that_do_not_fit_name_the_sample(template: str, media: tuple[Media, ...]) -> None:
    with pytest.raises(
        ConfigurationError, match=r"sample 's1': the prompt's template has \d (image|video) marker"
    ):
        parts(template, ask("Q?", *media))


def test_markers_in_the_question_place_media_where_they_fit() -> None:
    assert parts(None, ask("In <image>, what?", ONE)) == ["In ", "/1.png", ", what?"]
    assert parts(None, ask("<image 2> or <image 1>? See <image 2>.", ONE, TWO)) == [
        "/2.png",
        " or ",
        "/1.png",
        "? See <image 2>.",
    ]
    picked = ask("Which?", ONE, TWO, choices=("<image 1>", "<image 2>"))
    assert parts("{{ question }}\n{{ choice_lines }}", picked) == ["Which?\nA. ", "/1.png", "\nB. ", "/2.png"]


def test_markers_in_the_question_that_do_not_fit_are_text() -> None:
    assert parts(None, ask("What does <image> mean in HTML?")) == ["What does <image> mean in HTML?"]
    assert parts(None, ask("<image> <image>", ONE)) == ["/1.png", "<image> <image>"]
    assert parts(None, ask("<image 3>", ONE, TWO)) == ["/1.png", "/2.png", "<image 3>"]


def test_the_templates_own_markers_win_over_the_questions() -> None:
    assert parts("<image>{{ question }}", ask("what is <image>?", ONE)) == ["/1.png", "what is <image>?"]


def test_question_text_is_never_a_template() -> None:
    assert parts(None, ask("{{ 7 * 7 }} {% raw %}")) == ["{{ 7 * 7 }} {% raw %}"]


@given(
    st.text(), st.lists(st.sampled_from(["<image>", "<image 1>", "<image 2>", " x", "<video>"]), max_size=6)
)
def test_no_medium_is_lost_or_doubled_and_no_text_either(noise: str, pieces: list[str]) -> None:
    question = "q" + noise + "".join(pieces)
    sample = Sample("s", question, (ONE, TWO), (CLIP,))
    [message] = TemplatePrompt("{{ question }}.").render(sample)
    placed = [part.media for part in message.parts if part.media]
    assert sorted(str(media.path) for media in placed) == ["/1.png", "/2.png", "/c.mp4"]
    shown = "".join(part.text if part.text is not None else "" for part in message.parts)
    assert len(shown) <= len(question) + 1
    if not pieces:
        assert shown == question + "."


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ qestion }}", "template line 1: unknown variable 'qestion'; did you mean 'question'?"),
        ("\n{{ answer }}", "template line 2: 'answer' isn't available to prompts"),
        ("{% if %}", "template line 1: Expected an expression"),
        ("{{ choices | random }}", "template line 1: No filter named 'random'"),
        ("{{ lipsum() }}", "template line 1: unknown variable 'lipsum'"),
    ],
)
def test_a_template_is_checked_before_any_sample(template: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        TemplatePrompt(template)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "template",
    [
        "{{ metadata.kidn }}",
        "{{ question + 1 }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ metadata.update({'a': 1}) }}",
        "{% for i in range(10 ** 9) %}x{% endfor %}",
        "{{ 1 // 0 }}",
    ],
)
def test_what_a_sample_lacks_or_a_sandbox_forbids_names_the_sample(template: str) -> None:
    with pytest.raises(ConfigurationError, match=r"sample 's1': .*metadata: kind"):
        parts(template, ask(kind="k"))


def test_an_empty_prompt_is_an_error_unless_there_is_an_image() -> None:
    assert parts("  ", ask("Q?", ONE)) == ["/1.png"]
    with pytest.raises(ConfigurationError, match="'s1': the prompt's template gives an empty prompt"):
        parts("  ", ask())


def test_the_digest_follows_template_and_system() -> None:
    prompts = [TemplatePrompt(), TemplatePrompt("{{ question }}"), TemplatePrompt(system="Be brief.")]
    assert len({prompt.digest() for prompt in prompts}) == 3
    assert TemplatePrompt().digest() == TemplatePrompt().digest()
    assert TemplatePrompt("{{ question }}", "S").render(ask())[0].parts == (Part(text="S"),)
    assert "Be brief." in prompts[2].description
