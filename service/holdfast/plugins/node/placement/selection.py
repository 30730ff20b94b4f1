"""The part of a list that a request wants: filters, one page, and some fields of each item. Pure.

Theory of the pages: a token holds the key of the last item, not a position in the list. Keys order the list, and an
item keeps its key, so that an item that stays is on exactly one page, whatever comes and goes between two calls. A
token also has a checksum of the request (https://google.aip.dev/158: the other fields must stay as they are) and of the
state that its keys depend on.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from msgspec import DecodeError, Struct, json

from holdfast.errors import Aborted, InvalidArgument
from holdfast.events.envelope import field_of
from holdfast.filters import EVERYTHING, Filter, parse_all
from holdfast.plugins.node.placement.error_reason import invalid

LARGEST_PAGE = 1000  # items
MOST_COMPARISONS = 32  # in all filters of a request: 10,000 items take half a second of the loop's time
MOST_FILTER_TEXT = 4096  # characters
MOST_PATHS = 64  # of a mask

M = TypeVar("M", bound=Message)
Key = tuple[int, ...]


class _Token(Struct, frozen=True, array_like=True):
    """The content of a page token."""

    request: int
    state: int
    after: Key


class Selection(Struct, Generic[M], frozen=True):
    """The part of a list that a request wants.

    ``size`` 0: no pages; ``after``: the key of the last item of the page before.
    """

    kind: type[M]
    filter: Filter = EVERYTHING
    mask: FieldMask | None = None
    size: int = 0
    after: Key = ()
    request: int = 0
    state: int = 0

    @property
    def is_everything(self) -> bool:
        """Whether the answer is the whole list, with every field."""
        return self.filter.matches_everything and self.mask is None and not self.is_paged

    @property
    def is_paged(self) -> bool:
        """Whether the answer is one page."""
        return self.size > 0

    def is_past(self, key: Key) -> bool:
        """Whether an item was on an earlier page."""
        return key <= self.after

    def matches(self, item: M) -> bool:
        """Whether the filters let an item through."""
        return self.filter.matches_everything or self.filter.match(_Fields(item))

    def masked(self, item: M) -> M:
        """Return an item with the fields of the mask alone."""
        if self.mask is None:
            return item
        part = self.kind()
        self.mask.MergeMessage(item, part)
        return part

    def token(self, last: Key) -> str:
        """Return the token of the page after the one that ends with the key ``last``."""
        return base64.urlsafe_b64encode(json.encode(_Token(self.request, self.state, last))).decode()


def selection_of(request: Any, kind: type[M], state: Sequence[str] = ()) -> Selection[M]:
    """Return what a request with the four fields of a list wants of items of a ``kind``.

    ``state`` is what the keys of the list depend on: a token of another state is refused.

    Raises:
        InvalidArgument: one of the fields is wrong.
        Aborted: the token is of another state.
    """
    if request.page_size < 0:
        raise invalid("page_size", f"{request.page_size} is below 0")
    if request.page_token and not request.page_size:
        raise invalid("page_token", "page_size is missing")
    rest = type(request)()
    rest.CopyFrom(request)
    rest.ClearField("page_size")
    rest.ClearField("page_token")
    name = request.DESCRIPTOR.full_name.encode()
    made = zlib.crc32(rest.SerializeToString(deterministic=True), zlib.crc32(name))
    of_state = zlib.crc32("\0".join(state).encode())
    return Selection(
        kind,
        filter_of(request.filters, kind),
        _mask_of(request.read_mask, kind),
        min(request.page_size, LARGEST_PAGE),
        _read(request.page_token, made, of_state) if request.page_token else (),
        made,
        of_state,
    )


def _read(text: str, request: int, state: int) -> Key:
    """Return the key in a page token."""
    try:
        token = json.decode(base64.urlsafe_b64decode(text.encode()), type=_Token)
    except (binascii.Error, DecodeError, UnicodeError) as error:
        raise invalid("page_token", "this is no token of this list") from error
    if token.request != request:
        raise invalid("page_token", "it belongs to a request with other fields")
    if token.state != state:
        raise Aborted(
            "page_token: other rules are in force: list again", reason="PAGE_TOKEN_EXPIRED", field="page_token"
        )
    return token.after


def _mask_of(mask: FieldMask, kind: type[Message]) -> FieldMask | None:
    """Return a valid mask without paths that others include; None: the whole item."""
    if not mask.paths or "*" in mask.paths:
        return None
    if len(mask.paths) > MOST_PATHS:
        raise invalid("read_mask", f"{len(mask.paths)} paths are more than {MOST_PATHS}")
    descriptor: Any = kind.DESCRIPTOR
    for path in mask.paths:
        if not FieldMask(paths=[path]).IsValidForDescriptor(descriptor):
            raise invalid("read_mask", f'{kind.__name__} has no field "{path}"')
    canonical = FieldMask()
    canonical.CanonicalFormFromMask(mask)
    return canonical


def filter_of(filters: Sequence[str], kind: type[Message]) -> Filter:
    """Compile filters whose paths are fields of an item.

    Raises:
        InvalidArgument: they are no filters of such items, or too many.
    """
    if not filters:
        return EVERYTHING
    if (size := sum(map(len, filters))) > MOST_FILTER_TEXT:
        raise invalid("filters", f"{size} characters are more than {MOST_FILTER_TEXT}")
    try:
        compiled = parse_all(filters)
    except InvalidArgument as error:
        error.reason, error.field = "INVALID_FIELD", "filters"
        raise
    comparisons = [path for tests in compiled.alternatives for path, _ in tests]
    if len(comparisons) > MOST_COMPARISONS:
        raise invalid("filters", f"{len(comparisons)} comparisons are more than {MOST_COMPARISONS}")
    for path in comparisons:
        _check_path(path, kind)
    return compiled


def _check_path(path: tuple[str, ...], kind: type[Message]) -> None:
    """Raise `InvalidArgument` unless the path leads to a scalar or to a key of a map."""
    descriptor: Any = kind.DESCRIPTOR
    for at, name in enumerate(path):
        field = descriptor.fields_by_name.get(name) if descriptor is not None else None
        is_last = at == len(path) - 1
        if field is None or (is_last and (field.is_repeated or field.message_type is not None)):
            raise invalid("filters", f'{kind.__name__} has no text or number "{".".join(path)}"')
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            return
        descriptor = None if field.is_repeated else field.message_type


class _Fields(Struct, frozen=True):
    """An item as filters read it (`filters.Adaptor`)."""

    item: Message

    def field(self, path: Sequence[str]) -> tuple[str, bool]:
        """Return a field's text and whether it is set."""
        return field_of(self.item, path)
