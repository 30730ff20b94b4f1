import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class State(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STATE_UNSPECIFIED: _ClassVar[State]
    STATE_CURRENT: _ClassVar[State]
    STATE_EARLIER: _ClassVar[State]
    STATE_ROLLED_BACK: _ClassVar[State]
    STATE_PULLED: _ClassVar[State]
STATE_UNSPECIFIED: State
STATE_CURRENT: State
STATE_EARLIER: State
STATE_ROLLED_BACK: State
STATE_PULLED: State

class Bundle(_message.Message):
    __slots__ = ("digest", "name", "state", "applied_at", "files")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    APPLIED_AT_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    digest: str
    name: str
    state: State
    applied_at: _timestamp_pb2.Timestamp
    files: _containers.RepeatedCompositeFieldContainer[File]
    def __init__(self, digest: _Optional[str] = ..., name: _Optional[str] = ..., state: _Optional[_Union[State, str]] = ..., applied_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., files: _Optional[_Iterable[_Union[File, _Mapping]]] = ...) -> None: ...

class File(_message.Message):
    __slots__ = ("path", "digest", "size", "mode", "rules", "target")
    PATH_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    path: str
    digest: str
    size: int
    mode: int
    rules: bool
    target: str
    def __init__(self, path: _Optional[str] = ..., digest: _Optional[str] = ..., size: _Optional[int] = ..., mode: _Optional[int] = ..., rules: bool = ..., target: _Optional[str] = ...) -> None: ...

class ListRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListResponse(_message.Message):
    __slots__ = ("bundles",)
    BUNDLES_FIELD_NUMBER: _ClassVar[int]
    bundles: _containers.RepeatedCompositeFieldContainer[Bundle]
    def __init__(self, bundles: _Optional[_Iterable[_Union[Bundle, _Mapping]]] = ...) -> None: ...

class ApplyRequest(_message.Message):
    __slots__ = ("bundle",)
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    bundle: str
    def __init__(self, bundle: _Optional[str] = ...) -> None: ...

class ApplyResponse(_message.Message):
    __slots__ = ("bundle", "previous")
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_FIELD_NUMBER: _ClassVar[int]
    bundle: Bundle
    previous: str
    def __init__(self, bundle: _Optional[_Union[Bundle, _Mapping]] = ..., previous: _Optional[str] = ...) -> None: ...

class RollbackRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RollbackResponse(_message.Message):
    __slots__ = ("bundle", "previous")
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_FIELD_NUMBER: _ClassVar[int]
    bundle: Bundle
    previous: str
    def __init__(self, bundle: _Optional[_Union[Bundle, _Mapping]] = ..., previous: _Optional[str] = ...) -> None: ...

class BundleApplied(_message.Message):
    __slots__ = ("digest", "name", "previous")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_FIELD_NUMBER: _ClassVar[int]
    digest: str
    name: str
    previous: str
    def __init__(self, digest: _Optional[str] = ..., name: _Optional[str] = ..., previous: _Optional[str] = ...) -> None: ...

class BundleRolledBack(_message.Message):
    __slots__ = ("digest", "name", "previous")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_FIELD_NUMBER: _ClassVar[int]
    digest: str
    name: str
    previous: str
    def __init__(self, digest: _Optional[str] = ..., name: _Optional[str] = ..., previous: _Optional[str] = ...) -> None: ...
