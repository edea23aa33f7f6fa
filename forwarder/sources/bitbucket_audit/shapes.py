"""What the API answers, as documented and seen: every field but the time can be absent or null."""

from typing import Final

import msgspec

from forwarder.model import Actor, AffectedObject, Attribute, Change


class Paging(msgspec.Struct, frozen=True, rename="camel"):
    """`pagingInfo`: on the last page there is no cursor of a next one."""

    last_page: bool
    next_page_cursor: str | None = None


class Answer(msgspec.Struct, frozen=True, rename="camel"):
    """One page: its entities as they came, newest first, and how to go on."""

    entities: list[msgspec.Raw]
    paging_info: Paging


class AuditType(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """What happened: display texts and the keys that they are translated from."""

    category: str | None = None
    category_i18n_key: str | None = msgspec.field(default=None, name="categoryI18nKey")
    action: str | None = None
    action_i18n_key: str | None = msgspec.field(default=None, name="actionI18nKey")


class Entity(msgspec.Struct, frozen=True, rename="camel"):
    """One audit event as REST shows it; `uri` and `avatarUri` are not asked for."""

    timestamp: str
    author: Actor | None = None
    type: AuditType | None = None
    affected_objects: tuple[AffectedObject, ...] | None = None
    changed_values: tuple[Change, ...] | None = None
    extra_attributes: tuple[Attribute, ...] | None = None
    source: str | None = None
    node: str | None = None
    system: str | None = None
    method: str | None = None


_NULL: Final = msgspec.Raw(b"null")


class Parts(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """The same, with what comes again in other events still as it came."""

    timestamp: str
    author: msgspec.Raw = _NULL
    type: msgspec.Raw = _NULL
    affected_objects: msgspec.Raw = _NULL
    changed_values: msgspec.Raw = _NULL
    extra_attributes: tuple[Attribute, ...] | None = None
    source: str | None = None
    node: str | None = None
    system: str | None = None
    method: str | None = None
