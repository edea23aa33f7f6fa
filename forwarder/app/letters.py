"""Dead letters are tried again, for the command line and for the status page."""

from collections.abc import Sequence

from forwarder.config import Config
from forwarder.interfaces import Outbox, Rereads
from forwarder.model import DeadLetter, Replayed, Unreadable
from forwarder.normalizers import CatalogueNormalizer


async def replay_letters(config: Config, outbox: Outbox, letters: Sequence[DeadLetter]) -> Replayed:
    """Have sinks sent their letters again; read records again, and store them as events.

    Raises:
        StoreError, TransientError: from the outbox.
        ConfigError: the source of a record cannot be opened.
    """
    asked = [letter.id for letter in letters if letter.sink in config.sinks]
    count = await outbox.ask_letters(asked) if asked else 0
    records = [await _read_again(config, outbox, each) for each in letters if not each.sink]
    stay = [said for is_read, said in records if not is_read]
    strange = sum(bool(letter.sink) for letter in letters) - len(asked)
    if strange:
        stay.append(f"{strange:,} dead letters stay: their sinks are not configured any more")
    read = tuple(said for is_read, said in records if is_read)
    return Replayed(asked=count, read=read, stay=tuple(stay))


async def _read_again(config: Config, outbox: Outbox, letter: DeadLetter) -> tuple[bool, str]:
    """Return whether a record could be read now, and in words what has become of it."""
    options = config.sources.get(letter.source)
    if options is None:
        return False, f"{letter.id} stays: there is no source {letter.source} any more"
    async with options.open(name=letter.source) as source:
        if not isinstance(source, Rereads):
            return False, f"{letter.id} stays: {letter.source} cannot read single records"
        record = source.decode(letter.body)
    if isinstance(record, Unreadable):
        return False, f"{letter.id} stays: it still cannot be read: {record.detail}"
    try:
        event = CatalogueNormalizer(config.catalogue)(record, source=letter.source)
        if redact := config.store.redact.redactor():
            event = redact(event)
    except Exception as error:  # noqa: BLE001  whatever a record does to a normalizer
        return False, f"{letter.id} stays: the normalizer failed: {error}"
    new = await outbox.adopt(letter.id, event)
    said = "is read now, and goes to every sink" if new else "had been read again already"
    return True, f"{letter.id} {said}: event {event.event_id}"
