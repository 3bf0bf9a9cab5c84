"""A model is loaded and answers without torch's compiler, and who wants the compiler gets all of it.

Guards against a stand-in that somebody meets who wants the compiler itself, against its parts being run twice, and
against marks that it is never told.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")


def run(code: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_model_answers_without_the_compiler_which_is_told_of_all_marks_when_it_comes() -> None:
    code = """
import sys
from muster.models.transformers.imports import import_transformers
import_transformers()
from muster.demo import demo_model_path
from muster.models.transformers.loading import load
from muster.models.transformers.options import Options
import torch
model = load(demo_model_path(), Options(device="cpu"), trust_remote_code=False).model
model.generate(input_ids=torch.tensor([[1, 2, 3]]), max_new_tokens=2, do_sample=False)
print("torch._dynamo" in sys.modules)

from muster.models.transformers.compiler import _stand_in
noted = [mark for mark, _function in _stand_in().finder._noted]
allowed = next(function for mark, function in _stand_in().finder._noted if mark == "allow_in_graph")
print(set(noted) <= {"assume_constant_result", "allow_in_graph"})
print(torch.compile(lambda x: 2 * x, backend="eager")(torch.ones(1)).item())
import torch._dynamo
from torch._dynamo import trace_rules
print(id(allowed) in trace_rules._allowed_callable_ids, _stand_in().finder in sys.meta_path)
print(torch._dynamo._trace_wrapped_higher_order_op.__name__)
print(torch.empty(2, device="meta").normal_().device)  # what filled weights without the compiler goes on
"""
    assert run(code) == [
        "False",
        "True",
        "2.0",
        "True False",
        "torch._dynamo._trace_wrapped_higher_order_op",
        "meta",
    ]


@pytest.mark.parametrize(
    "wanted",
    [
        "from torch._dynamo import config as found",
        "from torch._dynamo.utils import counters; import torch._dynamo.config as found",
        "import torch; torch._dynamo.reset(); found = torch._dynamo.config",
    ],
)
def test_whoever_wants_more_of_the_compiler_gets_the_compiler(wanted: str) -> None:
    code = f"""
import sys
from muster.models.transformers.compiler import no_compiler
with no_compiler():
    {wanted}
    import torch._dynamo
    print(torch._dynamo.config is found, type(sys.modules["torch._dynamo"]).__name__)
import torch._dynamo.utils as utils
print(torch._dynamo.utils is utils is sys.modules["torch._dynamo.utils"], found is torch._dynamo.config)
"""
    assert run(code) == ["True module", "True True"]


def test_a_disabled_function_works_before_and_after_the_compiler_comes() -> None:
    code = """
from muster.models.transformers.compiler import no_compiler
with no_compiler():
    import torch
    plain = torch.compiler.disable(lambda x: x + 1)
    called = torch.compiler.disable(recursive=False)(lambda x: x + 2)
print(plain(1), called(1))
import torch._dynamo
print(plain(1), called(1), torch.compile(lambda x: plain(x), backend="eager")(torch.ones(1)).item())
"""
    assert run(code) == ["2 3", "2 3 2.0"]
