import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ErrorReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ERROR_REASON_UNSPECIFIED: _ClassVar[ErrorReason]
    INVALID_FIELD: _ClassVar[ErrorReason]
    RULE_NOT_FOUND: _ClassVar[ErrorReason]
    PROCESS_NOT_FOUND: _ClassVar[ErrorReason]
    CGROUP_NOT_FOUND: _ClassVar[ErrorReason]
    OVERRIDE_NOT_FOUND: _ClassVar[ErrorReason]
    OVERRIDE_REFUSED: _ClassVar[ErrorReason]
    RULES_TOO_SLOW: _ClassVar[ErrorReason]
    TOO_MANY_WATCHERS: _ClassVar[ErrorReason]
    WATCHER_TOO_SLOW: _ClassVar[ErrorReason]
    ENGINE_UNAVAILABLE: _ClassVar[ErrorReason]
    PROCESS_UNREADABLE: _ClassVar[ErrorReason]
    KERNEL_REFUSED: _ClassVar[ErrorReason]
    PAGE_TOKEN_EXPIRED: _ClassVar[ErrorReason]
    RESUME_TOKEN_EXPIRED: _ClassVar[ErrorReason]

class Field(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FIELD_UNSPECIFIED: _ClassVar[Field]
    FIELD_OOM_SCORE_ADJ: _ClassVar[Field]
    FIELD_CGROUP: _ClassVar[Field]
    FIELD_SETTING: _ClassVar[Field]

class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STATE_UNSPECIFIED: _ClassVar[State]
    STATE_HELD: _ClassVar[State]
    STATE_MOVING: _ClassVar[State]
    STATE_PLANNED: _ClassVar[State]
    STATE_REFUSED: _ClassVar[State]
    STATE_PARTLY: _ClassVar[State]
    STATE_INHERITED: _ClassVar[State]
    STATE_RETURNING: _ClassVar[State]

class Happening(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    HAPPENING_UNSPECIFIED: _ClassVar[Happening]
    HAPPENING_PLANNED: _ClassVar[Happening]
    HAPPENING_HELD: _ClassVar[Happening]
    HAPPENING_RELEASED: _ClassVar[Happening]
    HAPPENING_DRIFTED: _ClassVar[Happening]
    HAPPENING_FAILED: _ClassVar[Happening]
    HAPPENING_REFUSED: _ClassVar[Happening]
    HAPPENING_PRESENT: _ClassVar[Happening]
    HAPPENING_SYNCED: _ClassVar[Happening]
    HAPPENING_BOOKMARK: _ClassVar[Happening]

class RefusalReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REFUSAL_REASON_UNSPECIFIED: _ClassVar[RefusalReason]
    REFUSAL_REASON_INIT: _ClassVar[RefusalReason]
    REFUSAL_REASON_SELF: _ClassVar[RefusalReason]
    REFUSAL_REASON_UNKILLABLE: _ClassVar[RefusalReason]
    REFUSAL_REASON_LEAVE_KUBEPODS: _ClassVar[RefusalReason]
    REFUSAL_REASON_LEAVE_LIMITS: _ClassVar[RefusalReason]
    REFUSAL_REASON_CAPABILITY: _ClassVar[RefusalReason]
    REFUSAL_REASON_SET_BY_ITSELF: _ClassVar[RefusalReason]
    REFUSAL_REASON_CLAIM: _ClassVar[RefusalReason]
    REFUSAL_REASON_MEMORY_LIMIT: _ClassVar[RefusalReason]
    REFUSAL_REASON_CPUSET: _ClassVar[RefusalReason]
    REFUSAL_REASON_FROZEN: _ClassVar[RefusalReason]
    REFUSAL_REASON_NODE_GROUP: _ClassVar[RefusalReason]
    REFUSAL_REASON_THREADED: _ClassVar[RefusalReason]
    REFUSAL_REASON_INTERNAL_PROCESS: _ClassVar[RefusalReason]
    REFUSAL_REASON_NO_EQUIVALENT: _ClassVar[RefusalReason]
    REFUSAL_REASON_NO_CONTROLLER: _ClassVar[RefusalReason]
    REFUSAL_REASON_BAD_VALUE: _ClassVar[RefusalReason]
    REFUSAL_REASON_CONFLICT: _ClassVar[RefusalReason]
    REFUSAL_REASON_ROOT_GROUP: _ClassVar[RefusalReason]
    REFUSAL_REASON_JOURNAL: _ClassVar[RefusalReason]
    REFUSAL_REASON_KERNEL: _ClassVar[RefusalReason]

class Cause(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CAUSE_UNSPECIFIED: _ClassVar[Cause]
    CAUSE_START: _ClassVar[Cause]
    CAUSE_RELOAD: _ClassVar[Cause]
    CAUSE_PERIOD: _ClassVar[Cause]
    CAUSE_LOST_EVENTS: _ClassVar[Cause]
    CAUSE_NO_HEARTBEAT: _ClassVar[Cause]
    CAUSE_ASKED: _ClassVar[Cause]

class QosClass(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    QOS_CLASS_UNSPECIFIED: _ClassVar[QosClass]
    QOS_CLASS_GUARANTEED: _ClassVar[QosClass]
    QOS_CLASS_BURSTABLE: _ClassVar[QosClass]
    QOS_CLASS_BESTEFFORT: _ClassVar[QosClass]
ERROR_REASON_UNSPECIFIED: ErrorReason
INVALID_FIELD: ErrorReason
RULE_NOT_FOUND: ErrorReason
PROCESS_NOT_FOUND: ErrorReason
CGROUP_NOT_FOUND: ErrorReason
OVERRIDE_NOT_FOUND: ErrorReason
OVERRIDE_REFUSED: ErrorReason
RULES_TOO_SLOW: ErrorReason
TOO_MANY_WATCHERS: ErrorReason
WATCHER_TOO_SLOW: ErrorReason
ENGINE_UNAVAILABLE: ErrorReason
PROCESS_UNREADABLE: ErrorReason
KERNEL_REFUSED: ErrorReason
PAGE_TOKEN_EXPIRED: ErrorReason
RESUME_TOKEN_EXPIRED: ErrorReason
FIELD_UNSPECIFIED: Field
FIELD_OOM_SCORE_ADJ: Field
FIELD_CGROUP: Field
FIELD_SETTING: Field
STATE_UNSPECIFIED: State
STATE_HELD: State
STATE_MOVING: State
STATE_PLANNED: State
STATE_REFUSED: State
STATE_PARTLY: State
STATE_INHERITED: State
STATE_RETURNING: State
HAPPENING_UNSPECIFIED: Happening
HAPPENING_PLANNED: Happening
HAPPENING_HELD: Happening
HAPPENING_RELEASED: Happening
HAPPENING_DRIFTED: Happening
HAPPENING_FAILED: Happening
HAPPENING_REFUSED: Happening
HAPPENING_PRESENT: Happening
HAPPENING_SYNCED: Happening
HAPPENING_BOOKMARK: Happening
REFUSAL_REASON_UNSPECIFIED: RefusalReason
REFUSAL_REASON_INIT: RefusalReason
REFUSAL_REASON_SELF: RefusalReason
REFUSAL_REASON_UNKILLABLE: RefusalReason
REFUSAL_REASON_LEAVE_KUBEPODS: RefusalReason
REFUSAL_REASON_LEAVE_LIMITS: RefusalReason
REFUSAL_REASON_CAPABILITY: RefusalReason
REFUSAL_REASON_SET_BY_ITSELF: RefusalReason
REFUSAL_REASON_CLAIM: RefusalReason
REFUSAL_REASON_MEMORY_LIMIT: RefusalReason
REFUSAL_REASON_CPUSET: RefusalReason
REFUSAL_REASON_FROZEN: RefusalReason
REFUSAL_REASON_NODE_GROUP: RefusalReason
REFUSAL_REASON_THREADED: RefusalReason
REFUSAL_REASON_INTERNAL_PROCESS: RefusalReason
REFUSAL_REASON_NO_EQUIVALENT: RefusalReason
REFUSAL_REASON_NO_CONTROLLER: RefusalReason
REFUSAL_REASON_BAD_VALUE: RefusalReason
REFUSAL_REASON_CONFLICT: RefusalReason
REFUSAL_REASON_ROOT_GROUP: RefusalReason
REFUSAL_REASON_JOURNAL: RefusalReason
REFUSAL_REASON_KERNEL: RefusalReason
CAUSE_UNSPECIFIED: Cause
CAUSE_START: Cause
CAUSE_RELOAD: Cause
CAUSE_PERIOD: Cause
CAUSE_LOST_EVENTS: Cause
CAUSE_NO_HEARTBEAT: Cause
CAUSE_ASKED: Cause
QOS_CLASS_UNSPECIFIED: QosClass
QOS_CLASS_GUARANTEED: QosClass
QOS_CLASS_BURSTABLE: QosClass
QOS_CLASS_BESTEFFORT: QosClass

class Change(_message.Message):
    __slots__ = ("field", "before", "after", "hierarchy", "group", "file", "create", "lost")
    FIELD_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    HIERARCHY_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    CREATE_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    field: Field
    before: str
    after: str
    hierarchy: str
    group: str
    file: str
    create: bool
    lost: str
    def __init__(self, field: _Optional[_Union[Field, str]] = ..., before: _Optional[str] = ..., after: _Optional[str] = ..., hierarchy: _Optional[str] = ..., group: _Optional[str] = ..., file: _Optional[str] = ..., create: bool = ..., lost: _Optional[str] = ...) -> None: ...

class Refusal(_message.Message):
    __slots__ = ("reason", "field", "detail", "reason_enum")
    REASON_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    REASON_ENUM_FIELD_NUMBER: _ClassVar[int]
    reason: str
    field: Field
    detail: str
    reason_enum: RefusalReason
    def __init__(self, reason: _Optional[str] = ..., field: _Optional[_Union[Field, str]] = ..., detail: _Optional[str] = ..., reason_enum: _Optional[_Union[RefusalReason, str]] = ...) -> None: ...

class Process(_message.Message):
    __slots__ = ("pid", "start_ticks", "ppid", "comm", "exe", "cmdline", "uid", "oom_score_adj", "cgroups", "rss_pages", "swap_pages", "page_table_pages", "threads", "kernel_thread", "pod")
    class CgroupsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PID_FIELD_NUMBER: _ClassVar[int]
    START_TICKS_FIELD_NUMBER: _ClassVar[int]
    PPID_FIELD_NUMBER: _ClassVar[int]
    COMM_FIELD_NUMBER: _ClassVar[int]
    EXE_FIELD_NUMBER: _ClassVar[int]
    CMDLINE_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    OOM_SCORE_ADJ_FIELD_NUMBER: _ClassVar[int]
    CGROUPS_FIELD_NUMBER: _ClassVar[int]
    RSS_PAGES_FIELD_NUMBER: _ClassVar[int]
    SWAP_PAGES_FIELD_NUMBER: _ClassVar[int]
    PAGE_TABLE_PAGES_FIELD_NUMBER: _ClassVar[int]
    THREADS_FIELD_NUMBER: _ClassVar[int]
    KERNEL_THREAD_FIELD_NUMBER: _ClassVar[int]
    POD_FIELD_NUMBER: _ClassVar[int]
    pid: int
    start_ticks: int
    ppid: int
    comm: str
    exe: str
    cmdline: _containers.RepeatedScalarFieldContainer[str]
    uid: int
    oom_score_adj: int
    cgroups: _containers.ScalarMap[str, str]
    rss_pages: int
    swap_pages: int
    page_table_pages: int
    threads: int
    kernel_thread: bool
    pod: Pod
    def __init__(self, pid: _Optional[int] = ..., start_ticks: _Optional[int] = ..., ppid: _Optional[int] = ..., comm: _Optional[str] = ..., exe: _Optional[str] = ..., cmdline: _Optional[_Iterable[str]] = ..., uid: _Optional[int] = ..., oom_score_adj: _Optional[int] = ..., cgroups: _Optional[_Mapping[str, str]] = ..., rss_pages: _Optional[int] = ..., swap_pages: _Optional[int] = ..., page_table_pages: _Optional[int] = ..., threads: _Optional[int] = ..., kernel_thread: bool = ..., pod: _Optional[_Union[Pod, _Mapping]] = ...) -> None: ...

class Pod(_message.Message):
    __slots__ = ("uid", "qos", "container_id", "namespace", "name", "container", "qos_enum")
    UID_FIELD_NUMBER: _ClassVar[int]
    QOS_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    QOS_ENUM_FIELD_NUMBER: _ClassVar[int]
    uid: str
    qos: str
    container_id: str
    namespace: str
    name: str
    container: str
    qos_enum: QosClass
    def __init__(self, uid: _Optional[str] = ..., qos: _Optional[str] = ..., container_id: _Optional[str] = ..., namespace: _Optional[str] = ..., name: _Optional[str] = ..., container: _Optional[str] = ..., qos_enum: _Optional[_Union[QosClass, str]] = ...) -> None: ...

class Decision(_message.Message):
    __slots__ = ("rule", "changes", "refusals", "dry_run", "as_child", "by_claim")
    RULE_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    REFUSALS_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    AS_CHILD_FIELD_NUMBER: _ClassVar[int]
    BY_CLAIM_FIELD_NUMBER: _ClassVar[int]
    rule: str
    changes: _containers.RepeatedCompositeFieldContainer[Change]
    refusals: _containers.RepeatedCompositeFieldContainer[Refusal]
    dry_run: bool
    as_child: bool
    by_claim: bool
    def __init__(self, rule: _Optional[str] = ..., changes: _Optional[_Iterable[_Union[Change, _Mapping]]] = ..., refusals: _Optional[_Iterable[_Union[Refusal, _Mapping]]] = ..., dry_run: bool = ..., as_child: bool = ..., by_claim: bool = ...) -> None: ...

class ListRulesRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "filters", "read_mask")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    FILTERS_FIELD_NUMBER: _ClassVar[int]
    READ_MASK_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    filters: _containers.RepeatedScalarFieldContainer[str]
    read_mask: _field_mask_pb2.FieldMask
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., filters: _Optional[_Iterable[str]] = ..., read_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ...) -> None: ...

class RuleInfo(_message.Message):
    __slots__ = ("name", "reason", "yaml", "dry_run", "builtin", "suspended", "processes", "counts")
    class ProcessesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    YAML_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    BUILTIN_FIELD_NUMBER: _ClassVar[int]
    SUSPENDED_FIELD_NUMBER: _ClassVar[int]
    PROCESSES_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    name: str
    reason: str
    yaml: str
    dry_run: bool
    builtin: bool
    suspended: bool
    processes: _containers.ScalarMap[str, int]
    counts: _containers.RepeatedCompositeFieldContainer[StateCount]
    def __init__(self, name: _Optional[str] = ..., reason: _Optional[str] = ..., yaml: _Optional[str] = ..., dry_run: bool = ..., builtin: bool = ..., suspended: bool = ..., processes: _Optional[_Mapping[str, int]] = ..., counts: _Optional[_Iterable[_Union[StateCount, _Mapping]]] = ...) -> None: ...

class StateCount(_message.Message):
    __slots__ = ("state", "processes")
    STATE_FIELD_NUMBER: _ClassVar[int]
    PROCESSES_FIELD_NUMBER: _ClassVar[int]
    state: State
    processes: int
    def __init__(self, state: _Optional[_Union[State, str]] = ..., processes: _Optional[int] = ...) -> None: ...

class ListRulesResponse(_message.Message):
    __slots__ = ("rules", "next_page_token")
    RULES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    rules: _containers.RepeatedCompositeFieldContainer[RuleInfo]
    next_page_token: str
    def __init__(self, rules: _Optional[_Iterable[_Union[RuleInfo, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ListPlacementsRequest(_message.Message):
    __slots__ = ("rule", "page_size", "page_token", "filters", "read_mask")
    RULE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    FILTERS_FIELD_NUMBER: _ClassVar[int]
    READ_MASK_FIELD_NUMBER: _ClassVar[int]
    rule: str
    page_size: int
    page_token: str
    filters: _containers.RepeatedScalarFieldContainer[str]
    read_mask: _field_mask_pb2.FieldMask
    def __init__(self, rule: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., filters: _Optional[_Iterable[str]] = ..., read_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ...) -> None: ...

class PlacementInfo(_message.Message):
    __slots__ = ("pid", "start_ticks", "comm", "rule", "as_child", "state", "oom_score_adj", "adj_before", "group", "changes", "refusals", "since", "expires", "pod", "by_claim", "inherited", "state_enum")
    PID_FIELD_NUMBER: _ClassVar[int]
    START_TICKS_FIELD_NUMBER: _ClassVar[int]
    COMM_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    AS_CHILD_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    OOM_SCORE_ADJ_FIELD_NUMBER: _ClassVar[int]
    ADJ_BEFORE_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    REFUSALS_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_FIELD_NUMBER: _ClassVar[int]
    POD_FIELD_NUMBER: _ClassVar[int]
    BY_CLAIM_FIELD_NUMBER: _ClassVar[int]
    INHERITED_FIELD_NUMBER: _ClassVar[int]
    STATE_ENUM_FIELD_NUMBER: _ClassVar[int]
    pid: int
    start_ticks: int
    comm: str
    rule: str
    as_child: bool
    state: str
    oom_score_adj: int
    adj_before: int
    group: str
    changes: _containers.RepeatedCompositeFieldContainer[Change]
    refusals: _containers.RepeatedCompositeFieldContainer[Refusal]
    since: _timestamp_pb2.Timestamp
    expires: _timestamp_pb2.Timestamp
    pod: Pod
    by_claim: bool
    inherited: bool
    state_enum: State
    def __init__(self, pid: _Optional[int] = ..., start_ticks: _Optional[int] = ..., comm: _Optional[str] = ..., rule: _Optional[str] = ..., as_child: bool = ..., state: _Optional[str] = ..., oom_score_adj: _Optional[int] = ..., adj_before: _Optional[int] = ..., group: _Optional[str] = ..., changes: _Optional[_Iterable[_Union[Change, _Mapping]]] = ..., refusals: _Optional[_Iterable[_Union[Refusal, _Mapping]]] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expires: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., pod: _Optional[_Union[Pod, _Mapping]] = ..., by_claim: bool = ..., inherited: bool = ..., state_enum: _Optional[_Union[State, str]] = ...) -> None: ...

class ListPlacementsResponse(_message.Message):
    __slots__ = ("placements", "next_page_token")
    PLACEMENTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    placements: _containers.RepeatedCompositeFieldContainer[PlacementInfo]
    next_page_token: str
    def __init__(self, placements: _Optional[_Iterable[_Union[PlacementInfo, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ExplainRequest(_message.Message):
    __slots__ = ("pid",)
    PID_FIELD_NUMBER: _ClassVar[int]
    pid: int
    def __init__(self, pid: _Optional[int] = ...) -> None: ...

class Considered(_message.Message):
    __slots__ = ("rule", "holds", "clause", "wanted", "found", "keys")
    RULE_FIELD_NUMBER: _ClassVar[int]
    HOLDS_FIELD_NUMBER: _ClassVar[int]
    CLAUSE_FIELD_NUMBER: _ClassVar[int]
    WANTED_FIELD_NUMBER: _ClassVar[int]
    FOUND_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    rule: str
    holds: bool
    clause: str
    wanted: str
    found: str
    keys: _containers.RepeatedCompositeFieldContainer[KeyStanding]
    def __init__(self, rule: _Optional[str] = ..., holds: bool = ..., clause: _Optional[str] = ..., wanted: _Optional[str] = ..., found: _Optional[str] = ..., keys: _Optional[_Iterable[_Union[KeyStanding, _Mapping]]] = ...) -> None: ...

class KeyStanding(_message.Message):
    __slots__ = ("key", "claim")
    KEY_FIELD_NUMBER: _ClassVar[int]
    CLAIM_FIELD_NUMBER: _ClassVar[int]
    key: str
    claim: str
    def __init__(self, key: _Optional[str] = ..., claim: _Optional[str] = ...) -> None: ...

class ExplainResponse(_message.Message):
    __slots__ = ("process", "decision", "considered", "notes", "placement")
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    CONSIDERED_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    PLACEMENT_FIELD_NUMBER: _ClassVar[int]
    process: Process
    decision: Decision
    considered: _containers.RepeatedCompositeFieldContainer[Considered]
    notes: _containers.RepeatedScalarFieldContainer[str]
    placement: PlacementInfo
    def __init__(self, process: _Optional[_Union[Process, _Mapping]] = ..., decision: _Optional[_Union[Decision, _Mapping]] = ..., considered: _Optional[_Iterable[_Union[Considered, _Mapping]]] = ..., notes: _Optional[_Iterable[str]] = ..., placement: _Optional[_Union[PlacementInfo, _Mapping]] = ...) -> None: ...

class PreviewRequest(_message.Message):
    __slots__ = ("rule", "page_size", "page_token", "filters", "read_mask")
    RULE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    FILTERS_FIELD_NUMBER: _ClassVar[int]
    READ_MASK_FIELD_NUMBER: _ClassVar[int]
    rule: str
    page_size: int
    page_token: str
    filters: _containers.RepeatedScalarFieldContainer[str]
    read_mask: _field_mask_pb2.FieldMask
    def __init__(self, rule: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., filters: _Optional[_Iterable[str]] = ..., read_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ...) -> None: ...

class TryRequest(_message.Message):
    __slots__ = ("rules_yaml", "page_size", "page_token", "filters", "read_mask")
    RULES_YAML_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    FILTERS_FIELD_NUMBER: _ClassVar[int]
    READ_MASK_FIELD_NUMBER: _ClassVar[int]
    rules_yaml: str
    page_size: int
    page_token: str
    filters: _containers.RepeatedScalarFieldContainer[str]
    read_mask: _field_mask_pb2.FieldMask
    def __init__(self, rules_yaml: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., filters: _Optional[_Iterable[str]] = ..., read_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ...) -> None: ...

class Planned(_message.Message):
    __slots__ = ("process", "decision")
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    process: Process
    decision: Decision
    def __init__(self, process: _Optional[_Union[Process, _Mapping]] = ..., decision: _Optional[_Union[Decision, _Mapping]] = ...) -> None: ...

class PreviewResponse(_message.Message):
    __slots__ = ("planned", "looked_at", "next_page_token")
    PLANNED_FIELD_NUMBER: _ClassVar[int]
    LOOKED_AT_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    planned: _containers.RepeatedCompositeFieldContainer[Planned]
    looked_at: int
    next_page_token: str
    def __init__(self, planned: _Optional[_Iterable[_Union[Planned, _Mapping]]] = ..., looked_at: _Optional[int] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class VictimsRequest(_message.Message):
    __slots__ = ("cgroup", "limit", "page_size", "page_token", "filters", "read_mask")
    CGROUP_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    FILTERS_FIELD_NUMBER: _ClassVar[int]
    READ_MASK_FIELD_NUMBER: _ClassVar[int]
    cgroup: str
    limit: int
    page_size: int
    page_token: str
    filters: _containers.RepeatedScalarFieldContainer[str]
    read_mask: _field_mask_pb2.FieldMask
    def __init__(self, cgroup: _Optional[str] = ..., limit: _Optional[int] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., filters: _Optional[_Iterable[str]] = ..., read_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ...) -> None: ...

class Candidate(_message.Message):
    __slots__ = ("pid", "comm", "oom_score_adj", "points", "why", "memory_pages", "rule", "pod", "group")
    PID_FIELD_NUMBER: _ClassVar[int]
    COMM_FIELD_NUMBER: _ClassVar[int]
    OOM_SCORE_ADJ_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    MEMORY_PAGES_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    POD_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    pid: int
    comm: str
    oom_score_adj: int
    points: int
    why: str
    memory_pages: int
    rule: str
    pod: Pod
    group: str
    def __init__(self, pid: _Optional[int] = ..., comm: _Optional[str] = ..., oom_score_adj: _Optional[int] = ..., points: _Optional[int] = ..., why: _Optional[str] = ..., memory_pages: _Optional[int] = ..., rule: _Optional[str] = ..., pod: _Optional[_Union[Pod, _Mapping]] = ..., group: _Optional[str] = ...) -> None: ...

class Order(_message.Message):
    __slots__ = ("candidates", "margin_pages", "tie", "tied", "kill_group", "killed_with_it", "spared")
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    MARGIN_PAGES_FIELD_NUMBER: _ClassVar[int]
    TIE_FIELD_NUMBER: _ClassVar[int]
    TIED_FIELD_NUMBER: _ClassVar[int]
    KILL_GROUP_FIELD_NUMBER: _ClassVar[int]
    KILLED_WITH_IT_FIELD_NUMBER: _ClassVar[int]
    SPARED_FIELD_NUMBER: _ClassVar[int]
    candidates: _containers.RepeatedCompositeFieldContainer[Candidate]
    margin_pages: int
    tie: bool
    tied: int
    kill_group: str
    killed_with_it: _containers.RepeatedScalarFieldContainer[int]
    spared: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, candidates: _Optional[_Iterable[_Union[Candidate, _Mapping]]] = ..., margin_pages: _Optional[int] = ..., tie: bool = ..., tied: _Optional[int] = ..., kill_group: _Optional[str] = ..., killed_with_it: _Optional[_Iterable[int]] = ..., spared: _Optional[_Iterable[int]] = ...) -> None: ...

class Ranking(_message.Message):
    __slots__ = ("domain", "limit_pages", "swap_pages", "usage_pages", "processes", "now", "after_rules")
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    LIMIT_PAGES_FIELD_NUMBER: _ClassVar[int]
    SWAP_PAGES_FIELD_NUMBER: _ClassVar[int]
    USAGE_PAGES_FIELD_NUMBER: _ClassVar[int]
    PROCESSES_FIELD_NUMBER: _ClassVar[int]
    NOW_FIELD_NUMBER: _ClassVar[int]
    AFTER_RULES_FIELD_NUMBER: _ClassVar[int]
    domain: str
    limit_pages: int
    swap_pages: int
    usage_pages: int
    processes: int
    now: Order
    after_rules: Order
    def __init__(self, domain: _Optional[str] = ..., limit_pages: _Optional[int] = ..., swap_pages: _Optional[int] = ..., usage_pages: _Optional[int] = ..., processes: _Optional[int] = ..., now: _Optional[_Union[Order, _Mapping]] = ..., after_rules: _Optional[_Union[Order, _Mapping]] = ...) -> None: ...

class VictimsResponse(_message.Message):
    __slots__ = ("rankings", "page_bytes", "uncertainty_pages", "next_page_token")
    RANKINGS_FIELD_NUMBER: _ClassVar[int]
    PAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    UNCERTAINTY_PAGES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    rankings: _containers.RepeatedCompositeFieldContainer[Ranking]
    page_bytes: int
    uncertainty_pages: int
    next_page_token: str
    def __init__(self, rankings: _Optional[_Iterable[_Union[Ranking, _Mapping]]] = ..., page_bytes: _Optional[int] = ..., uncertainty_pages: _Optional[int] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class KillsRequest(_message.Message):
    __slots__ = ("limit", "page_size", "page_token", "filters", "read_mask")
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    FILTERS_FIELD_NUMBER: _ClassVar[int]
    READ_MASK_FIELD_NUMBER: _ClassVar[int]
    limit: int
    page_size: int
    page_token: str
    filters: _containers.RepeatedScalarFieldContainer[str]
    read_mask: _field_mask_pb2.FieldMask
    def __init__(self, limit: _Optional[int] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., filters: _Optional[_Iterable[str]] = ..., read_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ...) -> None: ...

class Standing(_message.Message):
    __slots__ = ("pid", "comm", "points", "oom_score_adj")
    PID_FIELD_NUMBER: _ClassVar[int]
    COMM_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    OOM_SCORE_ADJ_FIELD_NUMBER: _ClassVar[int]
    pid: int
    comm: str
    points: int
    oom_score_adj: int
    def __init__(self, pid: _Optional[int] = ..., comm: _Optional[str] = ..., points: _Optional[int] = ..., oom_score_adj: _Optional[int] = ...) -> None: ...

class Kill(_message.Message):
    __slots__ = ("at", "pid", "comm", "uid", "domain", "group", "rss_pages", "oom_score_adj", "rule", "pod", "container_id", "predicted", "looked_at", "pressure_pct", "pod_namespace", "pod_name", "container")
    AT_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    COMM_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    RSS_PAGES_FIELD_NUMBER: _ClassVar[int]
    OOM_SCORE_ADJ_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    POD_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    PREDICTED_FIELD_NUMBER: _ClassVar[int]
    LOOKED_AT_FIELD_NUMBER: _ClassVar[int]
    PRESSURE_PCT_FIELD_NUMBER: _ClassVar[int]
    POD_NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    POD_NAME_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_FIELD_NUMBER: _ClassVar[int]
    at: _timestamp_pb2.Timestamp
    pid: int
    comm: str
    uid: int
    domain: str
    group: str
    rss_pages: int
    oom_score_adj: int
    rule: str
    pod: str
    container_id: str
    predicted: _containers.RepeatedCompositeFieldContainer[Standing]
    looked_at: _timestamp_pb2.Timestamp
    pressure_pct: float
    pod_namespace: str
    pod_name: str
    container: str
    def __init__(self, at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., pid: _Optional[int] = ..., comm: _Optional[str] = ..., uid: _Optional[int] = ..., domain: _Optional[str] = ..., group: _Optional[str] = ..., rss_pages: _Optional[int] = ..., oom_score_adj: _Optional[int] = ..., rule: _Optional[str] = ..., pod: _Optional[str] = ..., container_id: _Optional[str] = ..., predicted: _Optional[_Iterable[_Union[Standing, _Mapping]]] = ..., looked_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., pressure_pct: _Optional[float] = ..., pod_namespace: _Optional[str] = ..., pod_name: _Optional[str] = ..., container: _Optional[str] = ...) -> None: ...

class KillsResponse(_message.Message):
    __slots__ = ("kills", "page_bytes", "next_page_token")
    KILLS_FIELD_NUMBER: _ClassVar[int]
    PAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    kills: _containers.RepeatedCompositeFieldContainer[Kill]
    page_bytes: int
    next_page_token: str
    def __init__(self, kills: _Optional[_Iterable[_Union[Kill, _Mapping]]] = ..., page_bytes: _Optional[int] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatusResponse(_message.Message):
    __slots__ = ("events", "last_sweep_cause", "last_sweep_processes", "last_sweep", "moves_waiting", "dry_run", "kubelet_cgroup", "pressure_pct", "last_sweep_cause_enum")
    class PressurePctEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    LAST_SWEEP_CAUSE_FIELD_NUMBER: _ClassVar[int]
    LAST_SWEEP_PROCESSES_FIELD_NUMBER: _ClassVar[int]
    LAST_SWEEP_FIELD_NUMBER: _ClassVar[int]
    MOVES_WAITING_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    KUBELET_CGROUP_FIELD_NUMBER: _ClassVar[int]
    PRESSURE_PCT_FIELD_NUMBER: _ClassVar[int]
    LAST_SWEEP_CAUSE_ENUM_FIELD_NUMBER: _ClassVar[int]
    events: str
    last_sweep_cause: str
    last_sweep_processes: int
    last_sweep: _duration_pb2.Duration
    moves_waiting: int
    dry_run: bool
    kubelet_cgroup: str
    pressure_pct: _containers.ScalarMap[str, float]
    last_sweep_cause_enum: Cause
    def __init__(self, events: _Optional[str] = ..., last_sweep_cause: _Optional[str] = ..., last_sweep_processes: _Optional[int] = ..., last_sweep: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., moves_waiting: _Optional[int] = ..., dry_run: bool = ..., kubelet_cgroup: _Optional[str] = ..., pressure_pct: _Optional[_Mapping[str, float]] = ..., last_sweep_cause_enum: _Optional[_Union[Cause, str]] = ...) -> None: ...

class HoldRequest(_message.Message):
    __slots__ = ("pid", "start_ticks", "oom_score_adj", "ttl", "reason")
    PID_FIELD_NUMBER: _ClassVar[int]
    START_TICKS_FIELD_NUMBER: _ClassVar[int]
    OOM_SCORE_ADJ_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    pid: int
    start_ticks: int
    oom_score_adj: int
    ttl: _duration_pb2.Duration
    reason: str
    def __init__(self, pid: _Optional[int] = ..., start_ticks: _Optional[int] = ..., oom_score_adj: _Optional[int] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., reason: _Optional[str] = ...) -> None: ...

class ReleaseRequest(_message.Message):
    __slots__ = ("pid",)
    PID_FIELD_NUMBER: _ClassVar[int]
    pid: int
    def __init__(self, pid: _Optional[int] = ...) -> None: ...

class ReleaseResponse(_message.Message):
    __slots__ = ("placement",)
    PLACEMENT_FIELD_NUMBER: _ClassVar[int]
    placement: PlacementInfo
    def __init__(self, placement: _Optional[_Union[PlacementInfo, _Mapping]] = ...) -> None: ...

class RestoreRequest(_message.Message):
    __slots__ = ("rule", "pid")
    RULE_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    rule: str
    pid: int
    def __init__(self, rule: _Optional[str] = ..., pid: _Optional[int] = ...) -> None: ...

class RestoreResponse(_message.Message):
    __slots__ = ("given_back", "left", "gone", "failed", "apart")
    GIVEN_BACK_FIELD_NUMBER: _ClassVar[int]
    LEFT_FIELD_NUMBER: _ClassVar[int]
    GONE_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    APART_FIELD_NUMBER: _ClassVar[int]
    given_back: int
    left: int
    gone: int
    failed: _containers.RepeatedScalarFieldContainer[str]
    apart: int
    def __init__(self, given_back: _Optional[int] = ..., left: _Optional[int] = ..., gone: _Optional[int] = ..., failed: _Optional[_Iterable[str]] = ..., apart: _Optional[int] = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("rule", "snapshot", "resume_token", "bookmarks", "filters")
    RULE_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    BOOKMARKS_FIELD_NUMBER: _ClassVar[int]
    FILTERS_FIELD_NUMBER: _ClassVar[int]
    rule: str
    snapshot: bool
    resume_token: str
    bookmarks: bool
    filters: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, rule: _Optional[str] = ..., snapshot: bool = ..., resume_token: _Optional[str] = ..., bookmarks: bool = ..., filters: _Optional[_Iterable[str]] = ...) -> None: ...

class Report(_message.Message):
    __slots__ = ("happening", "pid", "start_ticks", "comm", "rule", "changes", "detail", "at", "pod", "resume_token", "placement", "happening_enum")
    HAPPENING_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    START_TICKS_FIELD_NUMBER: _ClassVar[int]
    COMM_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    POD_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    PLACEMENT_FIELD_NUMBER: _ClassVar[int]
    HAPPENING_ENUM_FIELD_NUMBER: _ClassVar[int]
    happening: str
    pid: int
    start_ticks: int
    comm: str
    rule: str
    changes: _containers.RepeatedCompositeFieldContainer[Change]
    detail: str
    at: _timestamp_pb2.Timestamp
    pod: Pod
    resume_token: str
    placement: PlacementInfo
    happening_enum: Happening
    def __init__(self, happening: _Optional[str] = ..., pid: _Optional[int] = ..., start_ticks: _Optional[int] = ..., comm: _Optional[str] = ..., rule: _Optional[str] = ..., changes: _Optional[_Iterable[_Union[Change, _Mapping]]] = ..., detail: _Optional[str] = ..., at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., pod: _Optional[_Union[Pod, _Mapping]] = ..., resume_token: _Optional[str] = ..., placement: _Optional[_Union[PlacementInfo, _Mapping]] = ..., happening_enum: _Optional[_Union[Happening, str]] = ...) -> None: ...
