"""The outbox on SQL: SQLite by default, PostgreSQL to share it."""

from pydantic import Field

from forwarder.options import Duration, Options, as_written


class StoreConfig(Options):
    """``[store]``."""

    url: str = Field(
        default="sqlite:////var/lib/soteri-forwarder/forwarder.db",
        description="Where the outbox lives: sqlite:////absolute/path.",
    )
    retention: Duration = Field(
        default=as_written("30d"), description="How long delivered events are kept."
    )
