"""All errors, each with its status code and the word that a client sees.

A message ends in the class's word (``lease "l1": not found``), as containerd's clients print it. Transports only read
``code``, ``str(error)`` and `status_details`; no other code maps errors to codes. The codes are gRPC's
(https://grpc.github.io/grpc/core/md_doc_statuscodes.html); ttrpc carries the same integers.
"""

from __future__ import annotations

import asyncio
import enum
import os
from errno import EBADMSG, EMFILE, ENFILE, ENOMEM
from typing import Any

from holdfast.status_details import packed, unpacked

#: Message of `Unavailable` from a daemon that stops.
SHUTTING_DOWN = "holdfast is shutting down"


class Code(enum.IntEnum):
    """gRPC's status codes by their canonical numbers."""

    OK = 0
    CANCELED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class HoldfastError(Exception):
    """An error for the caller: a sentence, and the status code it is sent with.

    For programs, it may have a ``reason`` (a constant in capitals, google.rpc.ErrorInfo's) and the ``field`` of the
    request that is wrong (google.rpc.BadRequest's). A client reads both from the error that it catches.
    """

    code: Code = Code.UNKNOWN
    word: str = ""
    reason: str = ""
    field: str = ""
    details: tuple[Any, ...] = ()  # google.protobuf.Any messages that travel with the status instead of these two

    def __init__(self, *arguments: object, reason: str = "", field: str = "") -> None:
        super().__init__(*arguments)
        if reason:
            self.reason = reason
        if field:
            self.field = field

    @property
    def message(self) -> str:
        """The sentence without the class's word."""
        return str(self.args[0]) if self.args else ""

    def __str__(self) -> str:
        if not self.word or self.message.endswith(self.word):
            return self.message
        return f"{self.message}: {self.word}" if self.message else self.word

    def status_details(self) -> tuple[Any, ...]:
        """Return the google.protobuf.Any messages that travel with the status."""
        return self.details or packed(self.reason, self.field, self.message)


class InvalidArgument(HoldfastError):
    """The caller's arguments are wrong, whatever the state of the system."""

    code, word = Code.INVALID_ARGUMENT, "invalid argument"


class NotFound(HoldfastError):
    """The named object does not exist."""

    code, word = Code.NOT_FOUND, "not found"


class AlreadyExists(HoldfastError):
    """The object to be created exists."""

    code, word = Code.ALREADY_EXISTS, "already exists"


class FailedPrecondition(HoldfastError):
    """The arguments are right, the state is not."""

    code, word = Code.FAILED_PRECONDITION, "failed precondition"


class Unavailable(HoldfastError):
    """The call is not possible now; the same call may succeed later."""

    code, word = Code.UNAVAILABLE, "unavailable"


class Unreachable(Unavailable):
    """No daemon answered: nothing listens, the connection broke, or the time ran out."""

    word = ""


class Unimplemented(HoldfastError):
    """The method is not served here."""

    code, word = Code.UNIMPLEMENTED, "not implemented"


class PermissionDenied(HoldfastError):
    """The caller is not allowed to do this."""

    code, word = Code.PERMISSION_DENIED, "permission denied"


class ResourceExhausted(HoldfastError):
    """A named limit was reached."""

    code, word = Code.RESOURCE_EXHAUSTED, "resource exhausted"


class Canceled(HoldfastError):
    """The caller gave up."""

    code, word = Code.CANCELED, "context canceled"


class DeadlineExceeded(HoldfastError):
    """The caller's time ran out."""

    code, word = Code.DEADLINE_EXCEEDED, "context deadline exceeded"


class OutOfRange(HoldfastError):
    """A position past the end of an object."""

    code, word = Code.OUT_OF_RANGE, "out of range"


class Aborted(HoldfastError):
    """The state that the call depends on changed meanwhile: begin again."""

    code, word = Code.ABORTED, "aborted"


class BadOffset(OutOfRange):
    """A read or write at an offset the object does not have: the sentence is complete, as containerd's is."""

    word = ""


class BadLayer(HoldfastError):
    """The bytes of a layer are no archive, or would be written where they may not: the sentence names the entry and
    why.
    """

    code = Code.INVALID_ARGUMENT


class Internal(HoldfastError):
    """A fault of our own."""

    code, word = Code.INTERNAL, "internal"


class ConfigError(HoldfastError):
    """A configuration that cannot be used: ``where: key: what is wrong; what to do``, in one line.

    Characters of a file that would end the line, or that no terminal shows, are escaped as in a Python string.
    """

    code = Code.INVALID_ARGUMENT

    @property
    def message(self) -> str:
        """The sentence."""
        return "".join(one if one.isprintable() else repr(one)[1:-1] for one in super().message)


class ServedAlready(AlreadyExists):
    """A service that is registered already; two plugins offer it."""

    def __init__(self, service: str, words: str) -> None:
        super().__init__(words)
        self.service = service


class UnusableConfigType(HoldfastError):
    """A plugin's config type that msgspec cannot build, or that cannot do without a section: its author's mistake."""


class BootError(HoldfastError):
    """The daemon cannot start; the line it prints before it exits with 1."""


class Untrusted(BootError):
    """A directory or a socket that another user could exchange; the message says which, and what to change."""


class DaemonUseless(HoldfastError):
    """A part without which the daemon is useless ended; the line it prints before it exits with 1 to be restarted."""


class SkipPlugin(HoldfastError):
    """A plugin has nothing to do on this machine: a normal outcome, not a failure."""

    def __str__(self) -> str:
        return f"{self.message}: skip plugin" if self.message else "skip plugin"


class MisusedPlugin(HoldfastError):
    """A plugin was registered in a way that can never work (duplicate, loop, bad requires)."""


class NoEquivalent(HoldfastError):
    """A setting that exists on the other cgroup version only; the message names the nearest equivalent."""

    code = Code.FAILED_PRECONDITION


class ProcessGone(HoldfastError):
    """The process ended, or its number belongs to another one now: nothing is left to act on."""

    code, word = Code.NOT_FOUND, "no such process"


class Unreadable(HoldfastError):
    """A process whose memory is locked, so that reading its command line does not return: the reader does not wait for
    it.
    """

    code, word = Code.UNAVAILABLE, "unreadable"


class KernelRefused(HoldfastError):
    """The kernel refused one file operation: ``write /sys/fs/cgroup/a/cgroup.procs: device or resource busy``.

    ``remedy`` says what the operator can do about it, if that is known.
    """

    code = Code.FAILED_PRECONDITION

    def __init__(self, operation: str, path: str, errno: int, remedy: str = "") -> None:
        why = os.strerror(errno)
        super().__init__(f"{operation} {path}: {why[:1].lower()}{why[1:]}")
        self.operation, self.path, self.errno, self.remedy = operation, path, errno, remedy

    @property
    def is_want(self) -> bool:
        """Whether no descriptor or memory was left: this says nothing about the file."""
        return self.errno in (EMFILE, ENFILE, ENOMEM)

    @property
    def advice(self) -> str:
        """The message, and after a semicolon the remedy where there is one."""
        return f"{self.message}; {self.remedy}" if self.remedy else self.message


class UnknownKernelText(KernelRefused):
    """Kernel text that is not in the documented form, or longer than any the kernel writes: ``read stat of 7: …``."""

    def __init__(self, file: str, why: str) -> None:
        super().__init__("read", file, EBADMSG)
        self.args = (f"read {file}: {why}",)


class ConnectionClosed(Unavailable):
    """The connection ended before the answer came; whether the call was carried out is not known."""

    word = ""


class PeerBrokeProtocol(HoldfastError):
    """The peer sent something that the protocol does not allow there."""

    code = Code.INTERNAL


class MisusedStream(HoldfastError):
    """We used a stream in a way its kind does not allow: our caller's mistake, nothing was sent."""

    code = Code.INTERNAL


# Errors that a handler may raise without our classes, in the order of the look-up: subclasses before their bases.
_FOREIGN: tuple[tuple[type[BaseException], Code], ...] = (
    (asyncio.CancelledError, Code.CANCELED),
    (TimeoutError, Code.DEADLINE_EXCEEDED),
    (FileExistsError, Code.ALREADY_EXISTS),
    (FileNotFoundError, Code.NOT_FOUND),
    (PermissionError, Code.INTERNAL),  # the kernel refused the daemon, not the caller
    (EOFError, Code.OUT_OF_RANGE),
    (BrokenPipeError, Code.FAILED_PRECONDITION),
    (NotImplementedError, Code.UNIMPLEMENTED),
)


def reason_of(error: OSError) -> str:
    """Return the system's words for an error, in lower case as Go prints them."""
    return (error.strerror or str(error)).lower()


def code_of(error: BaseException) -> Code:
    """The status code of an error; UNKNOWN for an unforeseen one."""
    if isinstance(error, HoldfastError):
        return error.code
    return next((code for kind, code in _FOREIGN if isinstance(error, kind)), Code.UNKNOWN)


_BY_CODE: dict[int, type[HoldfastError]] = {
    kind.code: kind
    for kind in (
        Canceled,
        InvalidArgument,
        DeadlineExceeded,
        NotFound,
        AlreadyExists,
        PermissionDenied,
        ResourceExhausted,
        FailedPrecondition,
        Aborted,
        OutOfRange,
        Unimplemented,
        Internal,
        Unavailable,
    )
}


def from_status(code: int, message: str, details: tuple[Any, ...] = ()) -> HoldfastError:
    """The error that a peer answered with: the class of its code, with the peer's own sentence unchanged.

    ``details`` are the google.protobuf.Any messages of its status; reason and field are read from them.
    """
    error = _BY_CODE.get(code, HoldfastError)(message)
    error.code = Code(code) if code in _CODES else Code.UNKNOWN
    error.word = ""
    error.details = details
    error.reason, error.field = unpacked(details)
    return error


_CODES = frozenset(Code)
