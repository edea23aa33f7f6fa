"""What the machine can do: one thread, page -> spliced line -> HEC, gzip, and no promise kept.

    python -m tests.bench.reference PAGES COLLECTOR

It reads every page of the server on port PAGES, newest first, puts each record as it is into an
envelope, and posts each page's at once to the port COLLECTOR. There is no store, no identity, no
order, no retry: a figure beside this one says what those cost, on whatever machine.
Prints ``{"events": N, "seconds": S, "cpu_seconds": S}``.
"""

import http.client
import json
import sys
import time

import msgspec
from isal import igzip


class _Paging(msgspec.Struct, rename="camel"):
    last_page: bool
    next_page_cursor: str | None = None


class _Page(msgspec.Struct, rename="camel"):
    entities: list[msgspec.Raw]
    paging_info: _Paging


def run(pages: str, collector: str) -> dict[str, float]:
    began, used = time.monotonic(), time.process_time()
    source = http.client.HTTPConnection("127.0.0.1", int(pages))
    sink = http.client.HTTPConnection("127.0.0.1", int(collector))
    decode = msgspec.json.Decoder(_Page).decode
    events, cursor = 0, ""
    while True:
        source.request("GET", f"/rest/auditing/1.0/events?limit=1000{cursor}")
        page = decode(source.getresponse().read())
        events += len(page.entities)
        body = b"\n".join([b'{"sourcetype":"x","event":%b}' % bytes(raw) for raw in page.entities])
        sink.request("POST", "/services/collector/event", igzip.compress(body, 1))
        sink.getresponse().read()
        if page.paging_info.last_page:
            break
        cursor = f"&pageCursor={page.paging_info.next_page_cursor}"
    return {
        "events": events,
        "seconds": time.monotonic() - began,
        "cpu_seconds": time.process_time() - used,
    }


if __name__ == "__main__":
    print(json.dumps(run(*sys.argv[1:])))
