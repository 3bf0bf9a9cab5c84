"""Which tasks of a toolkit and of our catalogue are the same benchmark, and which of their scores the same number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

LAST_BIT = "in the last bit"
"""How the reason begins where numbers differ in nothing else."""


class Prompt(NamedTuple):
    """A judge's prompt in the toolkit's words."""

    name: str
    """Ours, that it stands in for."""
    module: str
    """The toolkit's file, below its environment's packages."""
    words: str
    """The text in it."""
    form: str
    """What the judge is told, with WORDS for that text, and our places."""


class Pair(NamedTuple):
    """A task of a toolkit, and our task of the same benchmark."""

    dataset: str
    """Theirs."""
    task: str
    """Ours."""
    scores: Mapping[str, str]
    """From their numbers to ours; of a group's tasks `TASK:NUMBER`, of a breakdown `NUMBER of KEY VALUE`."""
    data: str | None = None
    """The folder of the dataset that they read, below the work folder."""
    source: Mapping[str, object] | None = None
    """How it is read where our task reads another copy of the benchmark; None: by our task's own source."""
    parts: tuple[str, ...] = ()
    """Of a group the tasks, in the order of our samples."""
    by_id: bool = False
    """Whether answers belong to our samples by their id, and not by their place."""
    only: Mapping[str, str] = {}
    """The rows that our task has."""
    prompt: Prompt | None = None
    """Of a judge, which is then asked by both sides."""
    metric: Mapping[str, object] = {}
    """Parameters of our metric, where its task doesn't ask for all that they print."""
    why: Mapping[str, str] = {}
    """Why their numbers differ from ours, for those that are known to."""
    guesses: bool = False
    """Whether both draw a letter where they read none, and each in its own way: scores may differ by that many answers."""
    note: str = ""

    @property
    def shown(self) -> str:
        """Theirs, as the table names it: of a group its one part."""
        return self.parts[0] if len(self.parts) == 1 else self.dataset


def _tsv(
    dataset: str,
    task: str,
    scores: Mapping[str, str],
    fields: Mapping[str, object] | None = None,
    only: Mapping[str, str] | None = None,
) -> Pair:
    """A dataset of VLMEvalKit; `fields`: where its TSV has what our metric reads."""
    source = {"tsv": f"{dataset}.tsv", "data": "lmu", "fields": {"id": "index", **(fields or {})}}
    return Pair(dataset, task, scores, "lmu", source, by_id=True, only=only or {})


def _hub(
    dataset: str,
    task: str,
    scores: Mapping[str, str],
    repository: str,
    parts: tuple[str, ...] = (),
    why: Mapping[str, str] | None = None,
    note: str = "",
    prompt: Prompt | None = None,
    metric: Mapping[str, object] | None = None,
) -> Pair:
    """A task of lmms-eval whose dataset our task's own source reads."""
    folder = "data/" + repository.replace("/", "__")
    more = metric or {}
    return Pair(
        dataset, task, scores, folder, parts=parts, why=why or {}, note=note, prompt=prompt, metric=more
    )


def _captions(dataset: str, task: str, name: str, repository: str) -> Pair:
    """All scores of captions; `name`: what lmms-eval's begin with."""
    bleu = {f"{name}_Bleu_{k}": f"bleu_{k}" for k in range(1, 5)}
    scores = {f"{name}_CIDEr": "cider", **bleu, f"{name}_ROUGE_L": "rouge_l", f"{name}_METEOR": "meteor"}
    return _hub(dataset, task, scores, repository, metric={"scores": ("cider", "bleu", "rouge_l", "meteor")})


VLMEVALKIT = [
    _tsv(
        "MMBench_DEV_EN",
        "mmbench_en",
        {"Overall": "circular"},
        {"metadata": {"index": "index", "category": "category", "l2-category": "l2-category"}},
    ),
    _tsv(
        "MMBench_DEV_CN",
        "mmbench_cn",
        {"Overall": "circular"},
        {"metadata": {"index": "index", "category": "category", "l2-category": "l2-category"}},
    ),
    _tsv("MMStar", "mmstar", {"Overall": "accuracy"}, {"metadata": {"category": "category"}}),
    _tsv("AI2D_TEST", "ai2d", {"Overall": "accuracy"}),
    _tsv("RealWorldQA", "realworldqa", {"Overall": "accuracy"}),
    _tsv("ScienceQA_TEST", "scienceqa_img", {"Overall": "accuracy"}),
    _tsv("SEEDBench_IMG", "seedbench_image", {"Overall": "accuracy"}),
    _tsv(
        "MMMU_DEV_VAL",
        "mmmu",
        {"validation.Overall": "accuracy"},
        {"metadata": {"split": "split"}},
        only={"split": "validation"},
    ),
    _tsv("BLINK", "blink", {"Overall": "accuracy"}, {"metadata": {"sub_task": "category"}}),
    _tsv("MUIRBench", "muirbench", {"Overall": "accuracy"}, {"metadata": {"task": "category"}}),
    _tsv("VStarBench", "vstar", {"Overall": "accuracy"}, {"metadata": {"category": "category"}}),
    _tsv("POPE", "pope", {"Overall.Overall": "overall"}, {"metadata": {"category": "category"}}),
    _tsv(
        "MME",
        "mme",
        {"perception": "perception"},
        {"metadata": {"question_id": "{{ index | int // 2 }}", "category": "category"}},
    ),
    _tsv(
        "OCRBench",
        "ocrbench",
        {"Final Score": "score"},
        {"answers": "answer", "metadata": {"question_type": "category"}},
    ),
    _tsv(
        "HallusionBench",
        "hallusionbench",
        {"Overall.aAcc": "aAcc_percent"},
        {
            "metadata": {
                "category": "category",
                "l2-category": "l2-category",
                "set_id": "{{ index.split('_')[3] }}",
                "figure_id": "{{ index.split('_')[4] }}",
                "question_id": "{{ index.split('_')[5] }}",
            }
        },
    ),
    _tsv("TextVQA_VAL", "textvqa", {"Overall": "overall"}, {"answers": "answer"}),
    _tsv("DocVQA_VAL", "docvqa", {"Overall": "overall"}, {"answers": "answer"}),
    _tsv("InfoVQA_VAL", "infovqa", {"Overall": "overall"}, {"answers": "answer"}),
    _tsv("ChartQA_TEST", "chartqa", {"Overall": "overall"}, {"metadata": {"type": "split"}}),
    _tsv("OCRVQA_TESTCORE", "ocrvqa", {"Overall": "overall"}),
    _tsv("GQA_TestDev_Balanced", "gqa", {"Overall": "overall"}),
    _tsv("VizWiz", "vizwiz", {"Overall": "overall"}, {"answers": "answers"}),
]


def _copy(
    dataset: str,
    task: str,
    scores: Mapping[str, str],
    repository: str,
    split: str,
    fields: Mapping[str, object],
    config: str | None = None,
    why: Mapping[str, str] | None = None,
    note: str = "",
    prompt: Prompt | None = None,
    explode: str | None = None,
) -> Pair:
    """A task of lmms-eval whose dataset is another copy of the benchmark than our task's; `fields`: of its columns."""
    hub = {"dataset": repository, "split": split, **({"config": config} if config else {})}
    source = {"huggingface": hub, **({"explode": explode} if explode else {}), "fields": fields}
    folder = "data/" + repository.replace("/", "__")
    return Pair(dataset, task, scores, folder, source, why=why or {}, note=note, prompt=prompt)


_BLINK = (
    *("art_style", "counting", "forensic_detection", "functional_correspondence", "iq_test", "jigsaw"),
    *("multi_view_reasoning", "object_localization", "relative_depth", "relative_reflectance"),
    *("semantic_correspondence", "spatial_relation", "visual_correspondence", "visual_similarity"),
)
_MMVET = Prompt(
    "mmvet", "lmms_eval/tasks/mmvet/utils.py", "MM_VET_PROMPT", "WORDS\n{question} | {truth} | {prediction} |"
)
_MATHVISTA = Prompt(
    "mathvista",
    "lmms_eval/tasks/mathvista/mathvista_evals.py",
    "DEMO_PROMPT",
    "WORDS\n\n{query}\n\n{response}\n\nExtracted answer: ",
)
_REFCOCO = {
    "refcoco_IoU": "iou",
    **{f"refcoco_ACC@{k}": f"acc@{k}" for k in ("0.1", "0.3", "0.5", "0.7", "0.9")},
    "refcoco_Center_ACC": "center_acc",
}
_POPE = {f"pope_{name}": name for name in ("accuracy", "precision", "recall", "yes_ratio")} | {
    "pope_f1_score": "f1"
}
_MMSTAR = (
    *("coarse perception", "fine-grained perception", "instance reasoning", "logical reasoning", "math"),
    "science & technology",
)
_KINDS = (("action", "accuracy"), ("text", "text"), ("icon", "icon"))
_BOX = {
    "question": "answer",
    "answer": {"text": "{{ bbox }}"},
    "metadata": {"bbox": "bbox", "width": "{{ 48 }}", "height": "{{ 32 }}"},
}

_GUESSING = (
    "mmmu_val",
    "mmmu_val_qwen",
    "mmmu_pro_standard",
    "mmmu_pro_standard_cot",
    "egoschema_subset",
    "longvideobench_val_v",
)
"""Those of lmms-eval whose code draws a letter."""

_LMMS_EVAL = [
    _hub("mme", "mme", {"mme_perception_score": "perception", "mme_cognition_score": "cognition"}, "lmms-lab-encoder/MME"),
    _hub("pope", "pope", _POPE, "lmms-lab-encoder/POPE"),
    _copy("gqa", "gqa", {"exact_match": "accuracy"}, "lmms-lab-encoder/GQA", "testdev", {"id": "id", "question": "question", "answer": "answer"}, "testdev_balanced_instructions"),
    _hub("textvqa_val", "textvqa", {"exact_match": "accuracy"}, "lmms-lab-encoder/textvqa"),
    _hub("docvqa_val", "docvqa", {"anls": "anls"}, "lmms-lab-encoder/DocVQA"),
    _hub("infovqa_val", "infovqa", {"anls": "anls"}, "lmms-lab-encoder/DocVQA"),
    _hub("chartqa", "chartqa", {f"relaxed_{name}": f"relaxed_{name}" for name in ("overall", "human_split", "augmented_split")}, "lmms-lab-encoder/ChartQA"),
    _hub("ai2d", "ai2d", {"exact_match,flexible-extract": "accuracy"}, "lmms-lab-encoder/ai2d"),
    _hub("scienceqa", "scienceqa", {"exact_match": "accuracy"}, "lmms-lab-encoder/ScienceQA"),
    _hub("scienceqa_img", "scienceqa_img", {"exact_match": "accuracy"}, "lmms-lab-encoder/ScienceQA"),
    _hub("seedbench", "seedbench", {"seed_all": "accuracy", **{f"seed_{kind}": f"accuracy of data_type {kind}" for kind in ("image", "video")}}, "lmms-lab-encoder/SEED-Bench"),
    *(_hub("pope_full", "pope", {}, "lmms-lab-encoder/POPE")._replace(
        scores={f"{part}:{theirs}": ours for theirs, ours in _POPE.items()},
        parts=(part,),
        source={"huggingface": {"dataset": "lmms-lab-encoder/POPE", "config": "Full", "split": split}, "fields": {"id": "id", "question": "question", "answer": "answer", "metadata": {"category": "category"}}},
    ) for part, split in (("pope_adv", "adversarial"), ("pope_pop", "popular"), ("pope_random", "random"))),
    _hub("mmstar_qwen", "mmstar", {"average": "average"}, "Lin-Chen/MMStar"),
    _hub("mmmu_val_qwen", "mmmu", {"mmmu_acc": "overall"}, "lmms-lab-encoder/MMMU"),
    _hub("mmmu_pro_standard_cot", "mmmu_pro_10", {"mmmu_acc": "overall"}, "MMMU/MMMU_Pro"),
    _hub("mathvista_testmini_cot", "mathvista", {"llm_as_judge_eval": "average"}, "AI4Math/MathVista", prompt=_MATHVISTA),
    _hub("mathvista_testmini_solution", "mathvista", {"llm_as_judge_eval": "average"}, "AI4Math/MathVista", prompt=_MATHVISTA),
    _hub("mmstar", "mmstar", {"average": "average", **{name: f"average of category {name}" for name in _MMSTAR}}, "Lin-Chen/MMStar"),
    _hub("realworldqa", "realworldqa", {"exact_match": "accuracy"}, "lmms-lab-encoder/RealWorldQA"),
    _hub("ocrbench", "ocrbench", {"ocrbench_accuracy": "final"}, "echo840/OCRBench"),
    _hub("vqav2_val", "vqav2", {"exact_match": "accuracy"}, "lmms-lab-encoder/VQAv2"),
    _hub("vizwiz_vqa_val", "vizwiz", {"exact_match": "accuracy"}, "lmms-lab-encoder/VizWiz-VQA"),
    _hub("ok_vqa_val2014", "okvqa", {"exact_match": "accuracy"}, "lmms-lab-encoder/OK-VQA"),
    _hub("mmvp", "mmvp", {"mmvp_accuracy": "accuracy", "mmvp_pair_accuracy": "pair_accuracy"}, "lmms-lab-eval/MMVP"),
    _hub("vlmsareblind", "vlmsareblind", {"accuracy": "accuracy", "accuracy_by_task.task_mean": "average", **{f"accuracy_by_task.{name.lower()}": f"accuracy of task {name}" for name in ("Circled Letter", "Line Plot Intersections", "Nested Squares", "Touching Circles")}}, "XAI/vlmsareblind"),
    _hub("vstar_bench", "vstar", {"vstar_overall_acc": "accuracy"}, "lmms-lab-encoder/vstar-bench"),
    _hub("vstar_bench_direct_attributes", "vstar", {"vstar_direct_attributes_acc": "accuracy of category direct_attributes"}, "lmms-lab-encoder/vstar-bench"),
    _hub("vstar_bench_relative_position", "vstar", {"vstar_relative_position_acc": "accuracy of category relative_position"}, "lmms-lab-encoder/vstar-bench"),
    _hub("videomme_long", "videomme", {"videomme_perception_score": "overall"}, "lmms-eval/Video-MME")._replace(only={"duration": "long"}),
    _hub("countbenchqa", "countbench", {"acc": "accuracy"}, "vikhyatk/CountBenchQA"),
    _copy("mmbench_en_dev_static", "mmbench_en", {"gpt_eval_score": "overall"}, "lmms-lab-encoder/MMBench", "dev", {"id": "index", "choices": ["A", "B", "C", "D"], "answer": "answer", "metadata": {"index": "index", "category": "category"}}, "en"),
    _hub("mmmu_val", "mmmu", {"mmmu_acc": "overall"}, "lmms-lab-encoder/MMMU"),
    _hub("mmmu_pro_standard", "mmmu_pro_10", {"mmmu_acc": "overall"}, "MMMU/MMMU_Pro"),
    _hub("mmmu_pro_vision", "mmmu_pro_vision", {"mmmu_acc": "overall"}, "MMMU/MMMU_Pro"),
    _hub("mathvision_test", "mathvision", {"mathvision_standard_eval": "overall"}, "MathLLMs/MathVision"),
    _hub("mathvision_testmini", "mathvision_mini", {"mathvision_standard_eval": "overall"}, "MathLLMs/MathVision"),
    _hub("blink", "blink", {"blink_acc": "average"}, "BLINK-Benchmark/BLINK", tuple(f"blink_{part}" for part in _BLINK)),
    _hub("muirbench", "muirbench", {"muirbench_score_overall,flexible-extract": "accuracy"}, "MUIRBENCH/MUIRBENCH"),
    _hub("erqa", "erqa", {"erqa_acc": "accuracy"}, "FlagEval/ERQA"),
    _hub("embspatial", "embspatial", {"embspatial_acc": "accuracy", **{f"{place}_accuracy": f"accuracy of data_source {place}" for place in ("ai2thor", "mp3d", "scannet")}}, "FlagEval/EmbSpatial-Bench"),
    _copy("zerobench", "zerobench", {"zerobench_exact_match": "accuracy"}, "jonathan-roberts1/zerobench", "zerobench", {"id": "question_id", "question": "question_text", "answer": "question_answer"}),
    _hub("screenspot_v2", "screenspot_v2", {f"screenspot_v2_{theirs}_acc": name for theirs, name in _KINDS}, "HongxinLi/ScreenSpot_v2"),
    _hub("screenspot_pro", "screenspot_pro", {f"screenspot_pro_{theirs}_acc": name for theirs, name in _KINDS}, "TIGER-Lab/ScreenSpot-Pro"),
    _copy("refcoco_bbox_rec_val", "refcoco_val", _REFCOCO, "lmms-lab-encoder/RefCOCO", "val", _BOX, explode="answer"),
    _copy("refcoco_bbox_rec_testA", "refcoco_testa", _REFCOCO, "lmms-lab-encoder/RefCOCO", "testA", _BOX, explode="answer"),
    _copy("refcoco+_bbox_rec_val", "refcoco_plus_val", _REFCOCO, "lmms-lab-encoder/RefCOCOplus", "val", _BOX, explode="answer"),
    _copy("refcocog_bbox_rec_val", "refcocog_val", _REFCOCO, "lmms-lab-encoder/RefCOCOg", "val", _BOX, explode="answer"),
    _hub("videomme", "videomme", {"videomme_perception_score": "overall"}, "lmms-eval/Video-MME"),
    _hub("egoschema_subset", "egoschema_subset", {"score": "accuracy"}, "lmms-eval/egoschema"),
    _copy("lvbench", "lvbench", {"lvbench_score": "accuracy"}, "lmms-eval/LVBench", "train", {"id": "uid", "question": "question", "choices": "options", "answer": "answer"}),
    _copy("mlvu_dev", "mlvu", {"mlvu_percetion_score": "average"}, "sy1998/MLVU_dev", "test", {"question": "question", "choices": "candidates", "answer": "answer", "metadata": {"task_type": "task_type"}}, why={"mlvu_percetion_score": f"{LAST_BIT}: percentages are added there, in the order of a set (PYTHONHASHSEED)"}),
    _captions("textcaps_val", "textcaps", "textcaps", "lmms-lab-encoder/TextCaps"),
    _captions("coco2017_cap_val", "coco2017_caption", "coco", "lmms-lab-encoder/COCO-Caption2017"),
    _captions("flickr30k_test", "flickr30k", "flickr", "lmms-lab-encoder/flickr30k"),
    _captions("nocaps_val", "nocaps", "nocaps", "lmms-lab-encoder/NoCaps"),
    _hub("mmerealworld", "mme_realworld", {"mme_realworld_score": "accuracy"}, "yifanzhang114/MME-RealWorld-Lmms-eval"),
    _hub("osworld_g", "osworld_g", {f"osworld_g_{theirs}": name for theirs, name in (("acc", "accuracy"), ("bbox_acc", "bbox"), ("polygon_acc", "polygon"), ("refusal_acc", "refusal"))}, "MMInstruction/OSWorld-G"),
    _copy("simplevqa", "simplevqa", {"exact_match": "correct"}, "m-a-p/SimpleVQA", "test", {"id": "data_id", "question": "question", "answer": "answer"}),
    _hub("videomme_v2", "videomme_v2", {"videomme_v2_overall_score": "score", "videomme_v2_overall_acc": "accuracy", **{f"videomme_v2_{name}_score": name for name in ("relevance", "logic", "level_1", "level_2", "level_3")}}, "MME-Benchmarks/Video-MME-v2"),
    _hub("vsibench", "vsibench", {"vsibench_overall": "overall"}, "nyu-visionx/VSI-Bench"),
    _hub("vsibench_debiased", "vsibench_debiased", {"vsibench_overall": "overall"}, "nyu-visionx/VSI-Bench"),
    _hub("video_mmmu_adaptation", "videommmu_adaptation", {"mmmu_acc": "overall"}, "lmms-eval/VideoMMMU", why={"mmmu_acc": "empty answers to open questions are left out there, and wrong here"}),
    _hub("motionbench_full", "motionbench", {"motionbench_acc": "accuracy"}, "text"),
    _copy("mvbench_action_antonym", "mvbench_action_antonym", {"mvbench_accuracy": "overall"}, "OpenGVLab/MVBench", "train", {"question": "question", "choices": "candidates", "answer": {"column": "answer", "given_as": "text"}}, "action_antonym", why={"mvbench_accuracy": "empty answers are left out there, and wrong here"}),
    _copy("longvideobench_val_v", "longvideobench", {"lvb_acc": "overall"}, "longvideobench/LongVideoBench", "validation", {"id": "id", "question": "question", "choices": "candidates", "answer": {"column": "correct_choice", "given_as": "index"}, "metadata": {"duration_group": "duration_group", "question_category": "question_category"}}),
    _copy("mmvet", "mmvet", {"gpt_eval_score": "total"}, "lmms-lab-encoder/MMVet", "test", {"id": "question_id", "question": "question", "answer": "answer", "metadata": {"capability": "capability"}}, prompt=_MMVET),
    _hub("mathvista_testmini_format", "mathvista", {"llm_as_judge_eval": "average"}, "AI4Math/MathVista", prompt=_MATHVISTA),
    _hub("hallusion_bench_image", "hallusionbench", {name: name for name in ("aAcc", "qAcc", "fAcc")}, "lmms-lab-encoder/HallusionBench", why=dict.fromkeys(("aAcc", "qAcc", "fAcc"), "a judge is asked about every answer there; ours is the rule for yes and no that it has beside that")),
    _copy("hrbench4k", "hrbench_4k", {"average": "average"}, "DreamMr/HR-Bench", "hrbench_4k", {"id": "index", "choices": ["A", "B", "C", "D"], "answer": "answer", "metadata": {"category": "category", "cycle_category": "cycle_category"}}, "hrbench_version_split", why={"average": "a judge is asked there where no letter can be read; such answers are wrong here"}),
]  # fmt: skip
"""One task, one line."""

LMMS_EVAL = [pair._replace(guesses=pair.dataset in _GUESSING) for pair in _LMMS_EVAL]
