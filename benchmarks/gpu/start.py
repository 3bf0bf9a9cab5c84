"""The first answer, against a plain script that loads the same model: the demo model, and the large one on a GPU."""

from __future__ import annotations

from benchmarks.gpu.setting import Setting
from benchmarks.start import AIM_FIRST, Asked, first_answer_table, first_answers, write_question
from benchmarks.tables import verdict


def measure(setting: Setting) -> bool:
    """Print the tables; false if the aim was missed."""
    asked = {"The demo model": Asked("demo", setting.device, "float32")}
    if setting.large:
        asked["The large model, its files in the page cache"] = Asked(
            str(setting.model), setting.device, setting.dtype
        )
    ratios = []
    for number, (title, each) in enumerate(asked.items()):
        folder = setting.place(f"start{number}")
        write_question(folder, each)
        muster, script = first_answers(folder, 1, cold=False, asked=each)
        ratios.append(first_answer_table(title, muster, script))
    met = all(ratio <= AIM_FIRST for ratio in ratios)
    return verdict(f"first answer within {AIM_FIRST} of the plain script's CPU seconds", met)
