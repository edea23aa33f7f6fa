"""A node's audit log folder, rotated as Bitbucket rotates it."""

from pathlib import Path


class NodeFolder:
    """The folder of one node; `rotate` begins a new file, as at midnight or at 100 MB."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._day = 1
        self._number = 0

    @property
    def current(self) -> Path:
        return self.path / f"202003{self._day:02}.{self._number:05}.audit.log"

    def rotate(self, *, midnight: bool = False) -> None:
        if midnight:
            self._day, self._number = self._day + 1, 0
        else:
            self._number += 1

    def append(self, *lines: bytes) -> None:
        self.write(b"".join(line + b"\n" for line in lines))

    def write(self, text: bytes) -> None:
        with self.current.open("ab") as file:
            file.write(text)
