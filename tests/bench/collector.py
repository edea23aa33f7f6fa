"""A HEC, or CloudWatch Logs, for the benchmark: takes every batch at once, and counts when asked.

Run as a process of its own. `GET /count` answers ``{"events": N, "distinct": N}`` after unpacking
what came; until then it only reads bodies, so that it takes as little of the machine as it can.
"""

import asyncio
import json
import re
import time
import zlib

_ID = re.compile(rb'"event_id":"([0-9a-f]{32})"')
_AWS_ID = re.compile(rb'\\"event_id\\":\\"([0-9a-f]{32})\\"')
"""In a message of PutLogEvents, which is JSON inside of a string."""
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")


class Collector:
    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.arrivals: list[float] = []

    def count(self) -> bytes:
        ids: list[bytes] = []
        for body in self.bodies:
            text = zlib.decompress(body, 31) if body[:2] == b"\x1f\x8b" else body
            ids += _AWS_ID.findall(text)
            ids += [
                match
                for chunk in text.split(b'"sourcetype"')[1:]
                for match in _ID.findall(chunk)[:1]
            ]
        return json.dumps(
            {"events": len(ids), "distinct": len(set(ids)), "arrivals": self.arrivals[-1000:]}
        ).encode()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = _LENGTH.search(head)
                body = await reader.readexactly(int(length[1])) if length else b""
                if head.startswith(b"GET"):
                    said = self.count()
                else:
                    self.bodies.append(body)
                    self.arrivals.append(time.time())
                    said = b'{"text":"Success","code":0,"ackId":0}'
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                    b"x-amzn-RequestId: bench\r\n"
                    b"Content-Length: %d\r\n\r\n%b" % (len(said), said)
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


async def _serve() -> None:
    collector = Collector()
    server = await asyncio.start_server(collector.answer, "127.0.0.1", 0, limit=2**24)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve())
