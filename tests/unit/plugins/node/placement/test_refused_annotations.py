from __future__ import annotations

import msgspec
from holdfast.node.model.placement import Happening
from holdfast.node.rule.annotation import AdmissionTable
from holdfast.node.rule.schema import Admission
from holdfast.plugins.node.placement.refused_annotations import MOST_TOLD, RefusedAnnotations
from holdfast.pods.record import PodRecord

ADMITS = AdmissionTable.of(
    msgspec.convert([{"namespaces": "db", "oom_score_adj": {"min": 0, "max": 9}}], tuple[Admission, ...])
)


def pod(uid: str = "u1", **annotations: str) -> PodRecord:
    named = {"holdfast.dev/" + key.replace("_", "-"): value for key, value in annotations.items()}
    return PodRecord("s", uid, "db", "pg-0", annotations=named)


def counted(refused_annotations: RefusedAnnotations) -> dict[str, float]:
    return {key: value for (key,), value in refused_annotations.refused.values()}


def test_what_a_pod_is_refused_is_told_once_and_counted_by_its_kind():
    told = []
    refused_annotations = RefusedAnnotations(told.append)
    refused_annotations.set_table(ADMITS, ())
    for _ in range(3):
        refused_annotations.check_pod(pod(oom_score_adj="10", memory_oom_group="1", whatever="x"))
    refused_annotations.check_pod(pod(uid="u2", oom_score_adj="5"))
    assert [report.happening for report in told] == [Happening.REFUSED] * 3
    assert (told[1].rule, told[1].pod.namespace, told[1].pod.name) == ("annotation", "db", "pg-0")
    assert told[1].detail.startswith("holdfast.dev/oom-score-adj: 10: 10 is not within 0 and 9")
    assert counted(refused_annotations) == {"memory-oom-group": 1, "oom-score-adj": 1, "other": 1}


def test_a_pod_with_thousands_of_them_is_a_few_lines_and_all_are_counted():
    told, recorded = [], []
    refused_annotations = RefusedAnnotations(told.append, lambda pod, asks: recorded.append(asks))
    refused_annotations.set_table(
        ADMITS, [pod(**{f"oom-score-adj.c{number:04d}": "9" * 1000 for number in range(5000)})]
    )
    assert len(told) == MOST_TOLD + 1
    assert told[-1].detail == f"{5000 - MOST_TOLD} further annotations are refused"
    assert max(len(report.detail) for report in told) < 300
    assert [len(asks) for asks in recorded] == [MOST_TOLD]
    assert counted(refused_annotations) == {"oom-score-adj": 5000}


def test_a_new_table_is_told_of_anew():
    told = []
    refused_annotations = RefusedAnnotations(told.append)
    refused_annotations.set_table(ADMITS, [pod(oom_score_adj="10")])
    refused_annotations.set_table(ADMITS, [pod(oom_score_adj="10")])
    assert len(told) == 1
    refused_annotations.set_table(AdmissionTable(), [pod(oom_score_adj="10")])
    assert "no entry of annotations" in told[-1].detail
