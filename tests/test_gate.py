"""`muster gate`: decided by intervals, rarely wrong, and clear about what can't be decided."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks.gate_simulation import run_of
from muster.cli.app import app
from muster.core import ConfigurationError, RunError
from muster.gate.decision import _stretched, decide
from muster.gate.policy import Policy
from muster.gate.power_plan import TaskAtHand, plan_power
from test_compare import made, right, wrong_from
from toy_task import toy_plan


def policy(**rule: object) -> Policy:
    return Policy.model_validate({"rules": [{"tasks": ["*"], **rule}]})


def gate(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["gate", *map(str, arguments)])
    if isinstance(result.exception, ConfigurationError):
        raise result.exception
    return result.exit_code, result.output


RULES = "rules:\n  - {tasks: ['*'], max_drop: 0.05}\n"


@pytest.mark.parametrize(
    ("count", "right_until", "verdict", "code"),
    [(400, 400, "GO", 0), (400, 300, "NO-GO", 1), (30, 30, "INCONCLUSIVE", 2), (400, 380, "INCONCLUSIVE", 2)],
)
def test_verdicts_and_exit_codes(
    tmp_path: Path, count: int, right_until: int, verdict: str, code: int
) -> None:
    plan = toy_plan(count)
    before, after = made(tmp_path / "a", right, plan), made(tmp_path / "b", wrong_from(right_until), plan)
    (tmp_path / "p.yaml").write_text(RULES)
    exit_code, output = gate(tmp_path / "p.yaml", after, "--baseline", before)
    assert (exit_code, output.splitlines()[-1]) == (code, verdict)


def test_reports_for_machines_and_pull_requests(tmp_path: Path) -> None:
    plan = toy_plan(400)
    before, after = made(tmp_path / "a", right, plan), made(tmp_path / "b|x", wrong_from(300), plan)
    (tmp_path / "p.yaml").write_text(RULES + "limits: {errors: 0.0}\n")
    junit, summary = tmp_path / "new" / "j.xml", tmp_path / "s.md"
    code, _ = gate(tmp_path / "p.yaml", after, "--baseline", before, "--junit", junit, "--summary", summary)
    assert code == 1
    suite = ET.parse(junit).getroot()[0]
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    assert suite[0].find("failure") is not None
    assert summary.read_text().startswith("## NO-GO\n")
    code, output = gate(tmp_path / "p.yaml", after, "--baseline", before, "--json")
    assert json.loads(output)["verdict"] == "NO-GO"


@pytest.mark.parametrize(("drop", "least", "most"), [(0.05, 0.0, 0.09), (0.25, 0.9, 1.0)])
def test_a_drop_as_large_as_the_margin_is_rarely_refused_however_many_tasks(
    drop: float, least: float, most: float
) -> None:
    """With 20 tasks at the margin itself: a false NO-GO in at most one of twenty. A real drop is found."""
    random, refused, runs = np.random.default_rng(1), 0, 80
    for _ in range(runs):
        before = {f"t{number}": np.full(150, 1.0) for number in range(20)}
        after = {name: (random.random(150) >= drop).astype(float) for name in before}
        refused += decide(policy(max_drop=0.05), run_of(after), run_of(before)).verdict == "NO-GO"
    assert least <= refused / runs <= most


def test_the_plan_promises_what_happens() -> None:
    asked = policy(max_drop=0.04)
    [planned] = plan_power(asked, {"t": TaskAtHand(500, 500.0, 0.1)})
    random = np.random.default_rng(2)
    passed = broken = 0
    for _ in range(600):
        before = np.full(500, 0.5)
        step = random.choice([0.5, -0.5, 0.0], p=[0.05, 0.05, 0.9], size=500)
        verdict = decide(policy(max_drop=0.02), run_of({"t": before + step}), run_of({"t": before})).verdict
        passed += verdict == "GO"
        broken += verdict == "NO-GO"
    assert passed / 600 == pytest.approx(planned.go_if_unchanged, abs=0.05)
    assert broken <= 2
    assert planned.needed is not None


def test_floors_tiers_subsets_and_groups(tmp_path: Path) -> None:
    plan = toy_plan(200)
    run = made(tmp_path / "a", wrong_from(150), plan)

    def verdict(text: str) -> tuple[int, str]:
        (tmp_path / "p.yaml").write_text(text)
        return gate(tmp_path / "p.yaml", run)

    assert verdict("rules: [{tasks: [toy], floor: 0.6}]")[0] == 0
    assert verdict("rules: [{tasks: [toy], floor: 0.9}]")[0] == 1
    assert verdict("rules: [{tasks: [toy], floor: 0.75}]")[0] == 2
    assert verdict("rules: [{tasks: [toy], floor: 0.9, tier: advisory}]")[0] == 0
    assert verdict("rules: [{tasks: [toy], floor: 0.75, tier: supporting}]")[0] == 0
    subset = "subsets: {even: {task: toy, where: {category: even}}}\nrules: [{subset: even, floor: 0.6}]"
    code, output = verdict(subset)
    assert (code, "even: at least 0.6" in output) == (0, True)
    code, output = verdict("rules: [{tasks: [absent], floor: 0.6}]")
    assert (code, "has no task absent" in output) == (2, True)


def test_a_score_that_is_no_mean_has_its_interval_stretched() -> None:
    assert _stretched(500.0, (480.0, 510.0), 0.975) == pytest.approx((480, 510))
    wider = 2.807034 / 1.959964  # ten claims
    stretched = _stretched(500.0, (480.0, 510.0), 1 - 0.025 / 10)
    assert stretched == pytest.approx((500 - 20 * wider, 500 + 10 * wider))


def test_limits(tmp_path: Path) -> None:
    plan = toy_plan(100)
    before = made(tmp_path / "a", right, plan)
    after = made(
        tmp_path / "b", lambda key: None if int(key.sample_id) < 3 else right(key), plan, model="other"
    )

    def said(limits: str) -> tuple[int, str]:
        (tmp_path / "p.yaml").write_text(f"limits: {limits}")
        return gate(tmp_path / "p.yaml", after, "--baseline", before)

    assert said("{errors: 0.05, tokens_ratio: 1.0}")[0] == 0
    code, output = said("{errors: 0.01}")
    assert (code, "3 of 100 are samples without a score (3.00%)" in output) == (1, True)
    code, output = said("{settings_may_differ: [packages]}")
    assert (code, "these differ too: model" in output) == (1, True)
    assert said("{settings_may_differ: [model]}")[0] == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rules: [{tasks: [a]}]", r"p.yaml:1: rules.0: give either max_drop or floor"),
        ("rules: [{floor: 1}]", "give either tasks or subset"),
        ("rules:\n  - tasks: [a]\n    max_dorp: 1\n", "p.yaml:3: rules.0.max_dorp"),
        (
            "rules: [{task: [a], floor: 1}]",
            r"rules.0.task: unknown key; did you mean 'tasks'\? \(there are: name, ",
        ),
        ("limits: {error: 1}", r"limits.error: unknown key; did you mean 'errors'"),
        ("rule: []", r"p.yaml:1: rule: unknown key; did you mean 'rules'"),
        ("rules: [{tasks: ['*'], max_drop: .inf}]", "finite"),
        ("rules: [{tasks: ['*'], floor: .nan}]", "finite"),
        ("rules: [{subset: x, floor: 1}]", "'x', which `subsets` doesn't define"),
        ("{}", "needs rules or limits"),
        ("rules: [", r"p.yaml:1"),
        ("rules: [{tasks: ['group:nope'], floor: 1}]", "group 'nope'; there are"),
    ],
)
def test_mistakes_in_a_policy_are_named_by_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "p.yaml").write_text(text)
    run = made(tmp_path / "a", right, toy_plan(5))
    with pytest.raises(ConfigurationError, match=message):
        gate(tmp_path / "p.yaml", run)


def test_what_is_missing_is_said_before(tmp_path: Path) -> None:
    run = made(tmp_path / "a", right, toy_plan(5))
    (tmp_path / "p.yaml").write_text(RULES)
    with pytest.raises(ConfigurationError, match="--baseline RUN"):
        gate(tmp_path / "p.yaml", run)
    with pytest.raises(ConfigurationError, match="is no file"):
        gate(tmp_path / "none.yaml", run)
    with pytest.raises(ConfigurationError, match="say what samples there will be"):
        gate("plan", tmp_path / "p.yaml")
    for number in ("0", "-1", "x", "²", "9" * 30):
        with pytest.raises(ConfigurationError, match="write TASK=NUMBER"):
            gate("plan", tmp_path / "p.yaml", "--samples", f"toy={number}")


def test_a_summary_that_cant_be_written_is_told(tmp_path: Path) -> None:
    run = made(tmp_path / "a", right, toy_plan(30))
    (tmp_path / "p.yaml").write_text("rules: [{tasks: ['*'], floor: 0.5}]")
    for option in ("--junit", "--summary"):
        result = CliRunner().invoke(
            app, ["gate", str(tmp_path / "p.yaml"), str(run), option, str(tmp_path / "p.yaml" / "x")]
        )
        assert isinstance(result.exception, RunError)
        assert "cannot write" in str(result.exception)


def test_a_task_that_the_run_lost_is_no_go_ahead(tmp_path: Path) -> None:
    plans = toy_plan(400), toy_plan(30, name="lost")
    before, after = made(tmp_path / "a", right, *plans), made(tmp_path / "b", right, plans[0])
    (tmp_path / "p.yaml").write_text(RULES)
    code, output = gate(tmp_path / "p.yaml", after, "--baseline", before)
    assert (code, f"{after} has no task lost" in output) == (2, True)
    (tmp_path / "p.yaml").write_text(RULES.replace("'*'", "toy"))
    assert gate(tmp_path / "p.yaml", after, "--baseline", before)[0] == 0


def test_the_plan_says_how_weak_a_policy_is(tmp_path: Path) -> None:
    run = made(tmp_path / "a", right, toy_plan(50))
    (tmp_path / "p.yaml").write_text(RULES)
    code, output = gate("plan", tmp_path / "p.yaml", "--run", run)
    assert code == 0
    assert "1 of 1 claims have less than 80% power" in output
    code, output = gate("plan", tmp_path / "p.yaml", "--samples", "big=5000", "--json")
    [planned] = json.loads(output)
    assert planned["enough"]
    assert planned["go_if_unchanged"] > 0.99


def test_names_of_tasks_do_not_steer_the_terminal(tmp_path: Path) -> None:
    run = made(tmp_path / "a", right, toy_plan(30, name="to\x1b[31my"))
    (tmp_path / "p.yaml").write_text("rules: [{tasks: ['*'], floor: 0.5}]")
    _, output = gate(tmp_path / "p.yaml", run)
    assert "\x1b" not in output
    assert "to\\x1b[31my" in output
