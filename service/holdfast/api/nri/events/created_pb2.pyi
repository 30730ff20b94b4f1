from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class ContainerCreated(_message.Message):
    __slots__ = ("container_id", "namespace", "pod", "container", "rule", "outcome", "oom_score_adj", "asked", "cgroups_path", "unified")
    class UnifiedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    POD_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    OOM_SCORE_ADJ_FIELD_NUMBER: _ClassVar[int]
    ASKED_FIELD_NUMBER: _ClassVar[int]
    CGROUPS_PATH_FIELD_NUMBER: _ClassVar[int]
    UNIFIED_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    namespace: str
    pod: str
    container: str
    rule: str
    outcome: str
    oom_score_adj: int
    asked: int
    cgroups_path: str
    unified: _containers.ScalarMap[str, str]
    def __init__(self, container_id: _Optional[str] = ..., namespace: _Optional[str] = ..., pod: _Optional[str] = ..., container: _Optional[str] = ..., rule: _Optional[str] = ..., outcome: _Optional[str] = ..., oom_score_adj: _Optional[int] = ..., asked: _Optional[int] = ..., cgroups_path: _Optional[str] = ..., unified: _Optional[_Mapping[str, str]] = ...) -> None: ...
