"""A store with millions of delivered events, made by SQLite itself: no forwarder could so fast."""

import os
import sqlite3
from pathlib import Path

_FILL = """
insert into events (place, event_id, source, kind, occurred_at, stored_at, body)
with recursive number (n) as (select 1 union all select n + 1 from number where n < :events)
select n, printf('%012x%020x', :first + n, n), 'bitbucket', 'soteri.hook_skipped',
       :first + n, :first + n, x'7b7d'
from number
"""


def fill(path: Path, events: int) -> None:
    """Put `events` into an empty store, all of the last days, and every sink behind them."""
    database = sqlite3.connect(path)
    with database:
        (now,) = database.execute("select max(stored_at) from checkpoints").fetchone()
        database.execute(_FILL, {"events": events, "first": now - events - 1})
        database.execute("update places set last = ?", (events,))
        database.execute("update positions set position = ?, settled = ?", (events, events))
        database.execute("update checkpoints set stored = ?", (events,))
    database.close()
    os.sync()  # or what follows would wait for these gigabytes at each of its commits
