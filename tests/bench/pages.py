"""A page server for the benchmark: Bitbucket's audit API over pre-rendered rows, and nothing else.

Run as a process of its own, so that its work is not counted as the forwarder's. It answers
`from`, `to`, `pageCursor` and `limit`, newest first, and ignores every filter: all rows match.
``GET /first`` says when rows were asked for, for the first time since it was asked last.
"""

import asyncio
import json
import sys
import time
from bisect import bisect_left, bisect_right
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from urllib.parse import parse_qs, urlsplit

PER_SECOND = 100  # ten milliseconds between two events
BEGIN = datetime.now(UTC) - timedelta(days=1)


class Rows:
    """`count` events of about 950 bytes, `PER_SECOND` a second, ending a little before now."""

    def __init__(self, count: int) -> None:
        first = int(BEGIN.timestamp() * 1000)
        self.times = [first + number * 1000 // PER_SECOND for number in range(count)]
        self.bodies = [_body(number, at) for number, at in enumerate(self.times)]
        self.first_asked = 0.0

    def page(self, query: dict[str, str]) -> bytes:
        low = bisect_left(self.times, _ms(query["from"])) if "from" in query else 0
        high = bisect_right(self.times, _ms(query["to"])) if "to" in query else len(self.times)
        if "pageCursor" in query:
            high = min(high, int(query["pageCursor"].partition(",")[2]))
        start = max(low, high - int(query.get("limit", "200")))
        entities = b",".join(self.bodies[start:high][::-1])
        last = start <= low
        more = (
            b""
            if last
            else b',"nextPageOffset":0,"nextPageCursor":"%d,%d"' % (self.times[start], start)
        )
        return b'{"entities":[%b],"pagingInfo":{"lastPage":%b,"size":%d%b}}' % (
            entities,
            b"true" if last else b"false",
            max(high - start, 0),
            more,
        )


def _ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def _body(number: int, at_ms: int) -> bytes:
    at = datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")
    user, repository = number % 977, number % 211
    host = "http://bitbucket.internal:7990"
    event = {
        "timestamp": at.replace("+00:00", "Z"),
        "author": {
            "name": f"user{user}",
            "type": "NORMAL",
            "id": str(user),
            "uri": f"{host}/users/user{user}",
            "avatarUri": "",
        },
        "type": {
            "categoryI18nKey": "soteri.audit.category",
            "category": "Soteri Security for Bitbucket",
            "actionI18nKey": "soteri.audit.action.hook.skipped",
            "action": "Security hook skipped",
        },
        "affectedObjects": [
            {"name": "SEC", "type": "PROJECT", "uri": f"{host}/projects/SEC", "id": "2"},
            {"name": f"payments-{repository}", "type": "REPOSITORY", "id": str(repository)},
        ],
        "changedValues": [
            {"key": "Hook", "i18nKey": "soteri.audit.change.hook", "from": "on", "to": "skipped"}
        ],
        "source": f"10.100.{number % 251}.{number % 253}",
        "system": host,
        "node": "8767044c-1b98-4d64-82db-ef29af8c3792",
        "method": "Browser",
        "extraAttributes": [
            {
                "nameI18nKey": "soteri.audit.attribute.commit",
                "name": "commit",
                "value": f"{number * 2654435761 % 2**160:040x}",
            },
            {
                "nameI18nKey": "bitbucket.audit.attribute.legacy.target",
                "name": "target",
                "value": f"SEC/payments-{repository}",
            },
        ],
    }
    return json.dumps(event, separators=(",", ":")).encode()


async def _answer(rows: Rows, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            url = urlsplit(head.split(b" ", 2)[1].decode())
            if url.path.endswith("/events"):
                rows.first_asked = rows.first_asked or time.time()
                query = {name: values[0] for name, values in parse_qs(url.query).items()}
                body = rows.page(query)
            elif url.path == "/first":
                body, rows.first_asked = b'{"at":%f}' % rows.first_asked, 0.0
            else:
                body = b'{"version":"8.19.1","displayName":"Bitbucket"}'
            date = format_datetime(datetime.now(UTC), usegmt=True).encode()
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: %b\r\n"
                b"Content-Length: %d\r\n\r\n" % (date, len(body))
            )
            writer.write(body)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def _serve(count: int) -> None:
    rows = Rows(count)
    server = await asyncio.start_server(
        lambda reader, writer: _answer(rows, reader, writer), "127.0.0.1", 0
    )
    size = sum(map(len, rows.bodies)) // max(count, 1)
    port = server.sockets[0].getsockname()[1]
    print(f"{port} {size}", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
