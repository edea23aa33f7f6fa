"""Dead letters are tried again, for the command line and for the status page."""

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

from forwarder.config import Config
from forwarder.interfaces import Outbox, Rereads
from forwarder.model import DeadLetter, Event, Record, Replayed, Unreadable, body_of
from forwarder.normalizers import CatalogueNormalizer
from forwarder.span import many


async def replay_letters(config: Config, outbox: Outbox, letters: Sequence[DeadLetter]) -> Replayed:
    """Have sinks sent their letters again; read records again, and store them as events.

    Raises:
        StoreError, TransientError: from the outbox.
        ConfigError: the source of a record cannot be opened.
    """
    asked = [letter.id for letter in letters if letter.sink in config.sinks]
    count = await outbox.ask_letters(asked) if asked else 0
    records = await _read_again(config, outbox, [each for each in letters if not each.sink])
    stay = [said for is_read, said in records if not is_read]
    strange = sum(bool(letter.sink) for letter in letters) - len(asked)
    if strange:
        stay.append(
            many(strange, "dead letter stays: its sink is", "dead letters stay: their sinks are")
            + " not configured any more"
        )
    read = tuple(said for is_read, said in records if is_read)
    return Replayed(asked=count, read=read, stay=tuple(stay))


async def _read_again(
    config: Config, outbox: Outbox, letters: Sequence[DeadLetter]
) -> list[tuple[bool, str]]:
    """Return whether each record could be read now, and in words what has become of it."""
    normalize = _normalizer(config)
    said = []
    async with AsyncExitStack() as stack:
        # To open one takes longer than to read a thousand records.
        sources = {
            name: await stack.enter_async_context(config.sources[name].open(name=name))
            for name in {letter.source for letter in letters} & config.sources.keys()
        }
        for letter in letters:
            if letter.source not in sources:
                said.append(
                    (False, f"{letter.id} stays: there is no source {letter.source} any more")
                )
            else:
                source = sources[letter.source]
                said.append(await _adopted(letter, source, normalize, outbox))
    return said


def _normalizer(config: Config) -> Callable[[Record, str], Event]:
    normalize = CatalogueNormalizer(config.catalogue)
    redact = config.store.redact.redactor()

    def normalized(record: Record, source: str) -> Event:
        event = normalize(record, source=source)
        return redact(event) if redact else event

    return normalized


async def _adopted(
    letter: DeadLetter,
    source: object,
    normalize: Callable[[Record, str], Event],
    outbox: Outbox,
) -> tuple[bool, str]:
    if not isinstance(source, Rereads):
        return False, f"{letter.id} stays: {letter.source} cannot read single records"
    record = source.decode(letter.body)
    if isinstance(record, Unreadable):
        return False, f"{letter.id} stays: it still cannot be read: {record.detail}"
    try:
        event = normalize(record, letter.source)
        body_of(event)  # it must be possible to write it
    except Exception as error:  # noqa: BLE001  whatever a record does to a normalizer
        return False, f"{letter.id} stays: it cannot be made an event: {error}"
    new = await outbox.adopt(letter.id, event)
    said = "is read now, and goes to every sink" if new else "had been read again already"
    return True, f"{letter.id} {said}: event {event.event_id}"
