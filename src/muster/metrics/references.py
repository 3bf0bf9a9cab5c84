"""Which release or commit each scoring variant follows. Results and `muster tasks NAME` say what stands here.

Where a toolkit changes a rule, its variant here stays as it is until this file names the newer version.
"""

from __future__ import annotations

TOOLKITS = {
    "lmms-eval": "lmms-eval 0.7.3",
    "vlmevalkit": "VLMEvalKit e8e78f05 (18 August 2026)",
    "vlmevalkit-cot": "VLMEvalKit e8e78f05 (18 August 2026), its chain-of-thought data sets",
    "vlmevalkit-judge": "VLMEvalKit e8e78f05 (18 August 2026), with a judge",
    "internvl": "InternVL 2410d1db (22 September 2025), internvl_chat/eval",
    "muster": "Muster's own rule",
}
"""By scoring variant; `official` has a source for each benchmark instead."""

AUTHORS = {
    "babyvision": "UniPat-AI/BabyVision 7f92fd4b",
    "blink": "zeyofu/BLINK_Benchmark 2d6a779b",
    "ccocr": "AlibabaResearch/AdvancedLiterateMachinery 851672c8, Benchmarks/CC-OCR",
    "charxiv": "princeton-nlp/CharXiv 7ebe88f7",
    "dynamath": "DynaMath/DynaMath 598c3c3d",
    "judged_match": "no one: every answer is judged, as the authors of BabyVision and MMVU do",
    "llava_bench": "haotian-liu/LLaVA c121f043",
    "lvbench": "THUDM/LVBench f998d954",
    "mathvision": "mathvision-cuhk/MathVision c45c4f96, with latex2sympy2 1.9.1",
    "mathvista": "lupantech/MathVista 53d52587",
    "medxpertqa": "TsinghuaC3I/MedXpertQA f21247d3",
    "mlvu": "JUNJIE99/MLVU fd060c14",
    "mme": "calculation.py of MME's evaluation tool, as InternVL 2410d1db keeps it",
    "mme_realworld": "MME-Benchmarks/MME-RealWorld bee58ed1",
    "mmlongbench_doc": "mayubo2333/MMLongBench-Doc d73f0dc0, eval",
    "mmmu": "MMMU-Benchmark/MMMU bb0b95a9, mmmu",
    "mmmu_pro": "MMMU-Benchmark/MMMU bb0b95a9, mmmu-pro",
    "mmstar": "MMStar-Benchmark/MMStar 88f243ab",
    "mmvet": "yuweihao/MM-Vet acde843e",
    "mmvp": "tsb0601/MMVP 76350059",
    "mmvu": "yale-nlp/MMVU 4d54223d",
    "ocrbench_v2": "Yuliang-Liu/MultimodalOCR 7776efc0, OCRBench_v2, with NLTK 3.10",
    "omnidocbench": "opendatalab/OmniDocBench 523fd1d5 (21 October 2025), end to end",
    "refspatial": "Zhoues/RoboRefer ced90cd6, Evaluation",
    "scienceqa": "lupantech/ScienceQA 2cbf8318",
    "screenspot": "likaixin2000/ScreenSpot-Pro-GUI-Grounding bd8bbbb4",
    "simplevqa": "SimpleVQA/SimpleVQA b94d1f3d",
    "videomme_v2": "MME-Benchmarks/Video-MME-v2 b24176a1",
    "videommmu": "EvolvingLMMs-Lab/VideoMMMU 88b4ac3e",
    "vsibench": "vision-x-nyu/thinking-in-space 51e089c0",
    "wemath": "We-Math/We-Math a57a0e83",
}
"""The authors' own code, by metric."""

OFFICIAL = "official"


def followed(metric: str, variant: str) -> str:
    """What the scoring variant of a metric follows, in words; empty for a metric that doesn't ship with Muster."""
    return AUTHORS.get(metric, "") if variant == OFFICIAL else TOOLKITS.get(variant, "")
