"""One call: what is sent, and how an answer is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from rubicon.client.errors import InvalidArgument

T = TypeVar("T")
M = TypeVar("M", bound=Message)
PAGE = 500
"""Entities in one page of a listing."""


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One call: `service` and `method` as in proto/, and how to read an answer."""

    service: str
    method: str
    request: Message
    read: Callable[[Any], T]
    timeout: float | None = 30.0
    """Seconds; None for streams."""
    next_page: Callable[[Any], str] | None = None
    """For listings: the token in an answer that asks for the next page."""

    @property
    def path(self) -> str:
        """The method's name on the wire."""
        return f"/rubicon.v1.{self.service}/{self.method}"

    @property
    def answer(self) -> type[Message]:
        """The class of the answer."""
        file: Any = self.request.DESCRIPTOR.file
        return GetMessageClass(file.message_types_by_name[f"{self.method}Response"])

    def page(self, token: str) -> Call[T]:
        """The same listing from a later page on."""
        request = type(self.request)()
        request.CopyFrom(self.request)
        request.page_token = token  # type: ignore[attr-defined]
        return Call(self.service, self.method, request, self.read, self.timeout, self.next_page)


def message(kind: Callable[..., M], **fields: Any) -> M:
    """A message of these fields.

    Raises:
        InvalidArgument: a value that the wire cannot carry: a number that is too large, text that is not UTF-8.
    """
    try:
        return kind(**fields)
    except (TypeError, ValueError):
        for name, value in fields.items():
            try:
                kind(**{name: value})
            except UnicodeEncodeError:
                raise InvalidArgument(f"{name} {value!r}: use text that UTF-8 can carry") from None
            except (TypeError, ValueError) as error:
                raise InvalidArgument(f"{name} {value!r}: {error}") from None
        raise


def token(answer: Any) -> str:
    """`next_page` of every listing."""
    return str(answer.next_page_token)
