"""An event of every kind in the catalogue, about each sort of thing that it may be about."""

from collections.abc import Iterator

from forwarder.model import AffectedObject, Attribute, Change, Context, Event
from forwarder.normalizers.catalogue import shipped
from tests.fakes.events import event

KINDS = tuple(shipped())

# Names that bitbucket.<action> makes of actions outside the catalogue.
OTHERS = (
    "bitbucket.repository_created",
    "bitbucket.repository_accessed_by_user",
    "bitbucket.repository_change_requested",
    "bitbucket.project_deleted",
    "bitbucket.user_created",
    "bitbucket.user_deleted",
    "bitbucket.username_changed",
    "bitbucket.user_added_to_user_group",
    "bitbucket.user_removed_from_user_group",
    "bitbucket.user_login_failed",
    "bitbucket.user_login_failed_ssh",
    "bitbucket.user_logged_in",
    "bitbucket.user_logout",
    "bitbucket.elasticsearch_settings_changed",
    "bitbucket.full_data_export_triggered",
    "bitbucket.unnamed",
    "mine.something_happened",
)

OBJECTS: dict[str, tuple[AffectedObject, ...]] = {
    "nothing": (),
    "repository": (
        AffectedObject(type="PROJECT", name="SEC", id="2"),
        AffectedObject(type="REPOSITORY", name="payments", id="1"),
    ),
    "user": (AffectedObject(type="USER", name="bob", id="7"),),
    "group": (
        AffectedObject(type="GROUP", name="developers", id="developers"),
        AffectedObject(type="USER", name="bob", id="7"),
    ),
    "group alone": (AffectedObject(type="GROUP", name="developers", id="developers"),),
    "unnamed": (AffectedObject(type="MISC"), AffectedObject(type="PROJECT", id="2")),
}


def event_of(kind: str, *, about: str = "repository") -> Event:
    """Return an event of `kind` about `OBJECTS[about]`, with a rule and a changed value."""
    return event(
        kind=kind,
        action=kind.partition(".")[2].replace("_", " ").capitalize(),
        objects=OBJECTS[about],
        changes=(Change(key="Permission", from_="READ", to="ADMIN"),),
        attributes=(Attribute(name="Rule", value="AWS key"), Attribute(name="target", value="x")),
    )


def every_event() -> Iterator[Event]:
    """Yield every kind about every sort of thing, and each once by nobody from nowhere."""
    for kind in (*KINDS, *OTHERS):
        for about in OBJECTS:
            yield event_of(kind, about=about)
        yield event(kind=kind, actor=None, address=None, node=None, system=None, method=None)
        yield event(kind=kind, context=Context(actor_name="Alice Liddell", link="https://b/x"))
