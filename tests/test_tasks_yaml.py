"""Task files: a benchmark of one's own, and mistakes told by line and field, all at once."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from muster.core import ConfigurationError, Generation
from muster.metrics.protocol import ScoredSample
from muster.tasks.definition import Task
from muster.tasks.plan import PlannedTask
from muster.tasks.registry import load_tasks
from muster.tasks.sources.mapped import MappedSource
from muster.tasks.sources.protocol import KINDS
from muster.tasks.task_file import load_task_file, outline_task_file


def write(folder: Path, content: str) -> Path:
    file = folder / "my.yaml"
    file.write_text(textwrap.dedent(content), encoding="utf-8")
    return file


def tasks_of(folder: Path, content: str) -> list[Task]:
    return load_task_file(write(folder, content))


def mistakes(folder: Path, content: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        tasks_of(folder, content)
    return str(caught.value).replace(f"{folder}/", "").splitlines()


def source(task: Task) -> MappedSource:
    assert isinstance(task.source, MappedSource)
    return task.source


def test_a_users_own_benchmark_end_to_end(tmp_path: Path) -> None:
    (tmp_path / "img").mkdir()
    for name, colour in {"red": (255, 0, 0), "blue": (0, 0, 255)}.items():
        Image.new("RGB", (8, 8), colour).save(tmp_path / "img" / f"{name}.png")
    (tmp_path / "data.tsv").write_text(
        "id\tquestion\timage\tA\tB\tanswer\tkind\n"
        "r\tWhich colour?\timg/red.png\tred\tblue\tA\twarm\n"
        "b\tWhich colour?\timg/blue.png\tred\tblue\tB\tcold\n"
    )
    file = write(
        tmp_path,
        """
        name: colours
        source: {file: data.tsv}
        prompt:
          system: Look.
          template: |
            Here: <image>
            {{ question }}
            {{ choice_lines }}
        generation: {max_new_tokens: 8, stop: "\\n"}
        metric: multiple_choice
        by: [kind]
        """,
    )
    [task] = load_tasks([str(file)])
    samples = task.source.load()
    requests = list(PlannedTask(task, samples, task.generation).requests())

    assert [str(request.key) for request in requests] == ["colours/r", "colours/b"]
    system, user = requests[1].messages
    assert (system.role, system.text, user.role) == ("system", "Look.", "user")
    before, picture, after = user.parts
    assert (before.text, after.text) == ("Here: ", "\nWhich colour?\nA. red\nB. blue")
    assert picture.media is not None
    assert picture.media.path is not None
    with Image.open(picture.media.path) as image:
        assert image.getpixel((0, 0)) == (0, 0, 255)
    assert requests[0].generation == Generation(max_new_tokens=8, stop=("\n",))
    rows = [ScoredSample(sample, "A", task.metric.score(sample, "A")) for sample in samples]
    assert task.metric.aggregate(rows)[task.metric.info.primary] == 0.5
    assert (task.by, task.cluster, task.version, task.origin) == (("kind",), None, 1, str(file))


def test_shared_keys_are_merged_and_overridden(tmp_path: Path) -> None:
    one, two = tasks_of(
        tmp_path,
        """
        version: 3
        groups: [all]
        source: {file: d.jsonl, where: {split: test}, fields: {question: q}}
        generation: {max_new_tokens: 5}
        metric: {name: exact_match, ignore_case: true}
        tasks:
          - name: one
            source: {where: {level: 1}}
          - name: two
            groups: [hard]
            generation: {temperature: 0.5, max_new_tokens: 6}
            metric: {name: multiple_choice, variant: lmms-eval}
        """,
    )
    assert (one.name, one.version, one.groups) == ("one", 3, ("all",))
    assert (two.groups, two.version) == (("hard",), 3)
    assert source(one).where == {"split": "test", "level": 1}
    assert source(two).where == {"split": "test"}
    assert source(one).fields == source(two).fields == {"question": "q"}
    assert one.generation == Generation(max_new_tokens=5)
    assert two.generation == Generation(max_new_tokens=6, temperature=0.5)
    assert (one.metric.info.name, two.metric.info.name) == ("exact_match", "multiple_choice")
    assert two.metric.info.variant == "lmms-eval"


def test_all_mistakes_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    told = mistakes(
        tmp_path,
        """\
        name: My Bench
        version: "1"
        source:
          file: data.xlsx
          wher: {a: 1}
          fields:
            qestion: q
        prompt:
          template: |
            Look.
            {{ qestion }} {{ answer }}
        generation:
          max_new_tokens: 0
          stop: [a, 3]
        metric:
          name: exact_mach
        licens: MIT
        """,
    )
    starts = [
        "my.yaml:1: name: 'My Bench' may hold only small letters, digits and underscores",
        "my.yaml:2: version: '1' should be a valid integer",
        "my.yaml:4: source.file: unknown kind of data file 'data.xlsx'",
        "my.yaml:5: source.wher: unknown key; did you mean 'where'? (there are: file,",
        "my.yaml:7: source.fields.qestion: not a field of the sample format; did you mean 'question'?",
        "my.yaml:11: prompt.template: 'answer' isn't available to prompts",
        "my.yaml:11: prompt.template: unknown variable 'qestion'; did you mean 'question'?",
        "my.yaml:13: generation.max_new_tokens: 0 should be greater than or equal to 1",
        "my.yaml:14: generation.stop[1]: 3 should be a valid string",
        "my.yaml:16: metric.name: unknown metric 'exact_mach'",
        "my.yaml:17: licens: unknown key; did you mean 'licence'?",
    ]
    assert [line[: len(start)] for line, start in zip(told, starts, strict=True)] == starts
    assert "'exact_match'?" in told[9]


def test_another_kind_of_source_replaces_the_shared_one(tmp_path: Path) -> None:
    one, two = tasks_of(
        tmp_path,
        """
        source: {file: d.jsonl, fields: {question: q}}
        metric: exact_match
        tasks:
          - {name: one}
          - {name: two, source: {tsv: d.tsv}}
        """,
    )
    assert (source(one).description, source(two).description) == ("d.jsonl", "d.tsv, VLMEvalKit's format")
    assert source(two).fields == {"question": "q"}


def test_what_is_missing_is_told_where_it_should_stand(tmp_path: Path) -> None:
    told = mistakes(tmp_path, "# a comment\n\nname: x\nsource:\n  where: {a: 1}\n")
    assert told == [
        "my.yaml:3: metric: missing",
        f"my.yaml:4: source: give one of {', '.join(KINDS)}; it has none of them",
    ]


def test_a_mistake_in_shared_keys_is_told_once_on_its_own_line(tmp_path: Path) -> None:
    told = mistakes(
        tmp_path,
        """\
        source: {file: d.csv}
        generation: {temprature: 1}
        tasks:
          - name: one
            metric: exact_match
          - name: two
            metric:
              name: multiple_choice
              variant: nobody
          - metric: exact_match
        """,
    )
    assert told[0].startswith("my.yaml:2: generation.temprature: unknown key; did you mean 'temperature'?")
    assert told[1].startswith(
        "my.yaml:9: metric.variant: metric 'multiple_choice' has no scoring variant 'nobody'"
    )
    assert told[2] == "my.yaml:10: name: missing"
    assert len(told) == 3


def test_a_wrong_metric_parameter_is_told_on_its_line(tmp_path: Path) -> None:
    told = mistakes(
        tmp_path, "name: x\nsource: {file: d.csv}\nmetric:\n  name: exact_match\n  ignore_cas: true\n"
    )
    assert len(told) == 1
    assert told[0].startswith(
        "my.yaml:5: metric.ignore_cas: metric 'exact_match' has no parameter 'ignore_cas'"
    )


def test_template_mistakes_are_told_on_the_templates_own_line(tmp_path: Path) -> None:
    head = "name: x\nsource: {file: d.csv}\nmetric: exact_match\n"
    block = head + "prompt:\n  template: |\n    one\n    two {% if %}\n"
    assert mistakes(tmp_path, block)[0].startswith("my.yaml:7: prompt.template: ")
    inline = head + 'prompt: {template: "{{ question | shout }}"}\n'
    assert mistakes(tmp_path, inline) == ["my.yaml:4: prompt.template: No filter named 'shout'."]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name: x\n  version: 1\n", "my.yaml:2: not valid YAML: mapping values are not allowed here"),
        ("name: [x\n", "my.yaml:2: not valid YAML: while parsing a flow sequence"),
        ("source:\n\tfile: x\n", "my.yaml:2: not valid YAML"),
        ("name: x\n---\nname: y\n", "my.yaml:2: not valid YAML: expected a single document"),
        (
            "name: !!python/object/apply:os.system [echo]\n",
            "my.yaml:1: not valid YAML: could not determine a constructor",
        ),
        ("name: x\ndate: 2024-13-45\n", "my.yaml: not valid YAML: month must be in 1..12"),
        ("name: x\ndescription: \x01\n", "my.yaml:2: not valid YAML: the character '\\x01'"),
        ("", "my.yaml:1: a task file is a mapping of keys"),
        ("- name: x\n", "my.yaml:1: a task file is a mapping of keys"),
        ("version: 1\ntasks: []\n", "my.yaml:2: tasks: is not a list of tasks"),
        ("tasks: {name: x}\n", "my.yaml:1: tasks: is not a list of tasks"),
        ("tasks:\n  - one\n", "my.yaml:1: tasks[0]: is not a mapping of keys"),
        (
            "name: x\nmetric: exact_match\nsource: d.csv\n",
            "my.yaml:3: source: 'd.csv' is not a mapping of keys",
        ),
    ],
)
def test_what_is_not_a_task_file(tmp_path: Path, content: str, message: str) -> None:
    assert mistakes(tmp_path, content)[0].startswith(message)


def test_duplicate_keys_would_silently_drop_the_first(tmp_path: Path) -> None:
    told = mistakes(
        tmp_path,
        """\
        name: x
        source: {file: d.csv}
        metric: exact_match
        generation:
          stop: [a]
          stop: [b]
        metric: multiple_choice
        """,
    )
    assert told == [
        "my.yaml:6: generation.stop: given twice, first on line 5",
        "my.yaml:7: metric: given twice, first on line 3",
    ]


def test_two_tasks_of_one_name(tmp_path: Path) -> None:
    told = mistakes(
        tmp_path,
        """\
        source: {file: d.csv}
        metric: exact_match
        tasks:
          - name: same
          - name: same
        """,
    )
    assert told == ["my.yaml:5: name: 'same' is also the name of the task on line 4"]


def test_anchors_and_merge_keys_work_and_cycles_end(tmp_path: Path) -> None:
    [task] = tasks_of(
        tmp_path,
        """\
        name: x
        source: &s {file: d.csv}
        metric: {<<: {ignore_case: true}, name: exact_match}
        """,
    )
    assert task.metric.info.name == "exact_match"
    cycle = mistakes(tmp_path, "name: x\nmetric: exact_match\nsource: &s\n  file: d.csv\n  where: {a: *s}\n")
    assert cycle[0].startswith("my.yaml:5: source.where.a: {'file': 'd.csv', ")


def test_yaml_values_that_are_not_what_they_look_like(tmp_path: Path) -> None:
    told = mistakes(
        tmp_path,
        """\
        name: x
        source: {file: d.csv, allow_urls: "yes", where: {day: 2024-01-01, ok: [1, yes, a], none: null}}
        metric: exact_match
        by: [no]
        """,
    )
    assert told.pop(0) == "my.yaml:2: source.allow_urls: 'yes' should be a valid boolean"
    assert [line.partition(": ")[2].partition(" is ")[0] for line in told[:2]] == [
        "source.where.day: datetime.date(2024, 1, 1)",
        "source.where.none: None",
    ]
    assert told[2] == "my.yaml:4: by[0]: False should be a valid string"


def test_a_missing_or_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"No such task file: .*gone\.yaml"):
        load_task_file(tmp_path / "gone.yaml")
    (tmp_path / "latin.yaml").write_bytes("name: \xe4".encode("latin-1"))
    with pytest.raises(ConfigurationError, match=r"latin\.yaml: not UTF-8"):
        load_task_file(tmp_path / "latin.yaml")


def test_data_files_are_opened_by_load_not_before(tmp_path: Path) -> None:
    [task] = tasks_of(tmp_path, "name: x\nsource: {file: sub/gone.csv}\nmetric: exact_match\n")
    with pytest.raises(ConfigurationError, match=rf"No such data file: {tmp_path}/sub/gone\.csv"):
        task.source.load()


def test_an_outline_needs_no_valid_task(tmp_path: Path) -> None:
    file = write(tmp_path, "groups: [g]\ntasks:\n  - {name: a, metric: nobody}\n  - {name: b, groups: []}\n")
    assert [(o.name, o.groups) for o in outline_task_file(file)] == [("a", ("g",)), ("b", ())]


BASE = """name: x
source: {file: d.csv, where: {a: 1}}
prompt: {template: "{{ question }}"}
generation: {max_new_tokens: 3}
metric: {name: exact_match}
by: [k]
"""


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    at=st.integers(0, len(BASE)),
    cut=st.integers(0, 12),
    junk=st.text(max_size=6) | st.sampled_from(["{", "&a *a", "- ", ": "]),
)
def test_no_file_crashes_the_reader(tmp_path: Path, at: int, cut: int, junk: str) -> None:
    file = tmp_path / "my.yaml"
    file.write_bytes((BASE[:at] + junk + BASE[at + cut :]).encode("utf-8", "surrogatepass"))
    for read in (load_task_file, outline_task_file):
        message = ""
        try:
            read(file)
        except ConfigurationError as error:
            message = str(error)
        assert not message or message.startswith(f"{file}:")
