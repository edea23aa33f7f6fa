"""How long something takes, and how many there are, in words."""


def span(seconds: float) -> str:
    """Return a duration for people: ``0.2 s``, ``42 s``, ``3.5 h``, ``12 d``."""
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"


def many(count: int, one: str, more: str = "") -> str:
    """Return `count` with its noun, in `more` words or with an s: ``1 event``, ``2,000 events``."""
    return f"{count:,} {one if count == 1 else more or f'{one}s'}"
