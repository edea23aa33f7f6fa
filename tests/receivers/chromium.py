"""Debian's Chromium without a window, driven over the DevTools protocol by a pipe.

The protocol is https://chromedevtools.github.io/devtools-protocol/: one JSON object a message, a
NUL after each; `--remote-debugging-pipe` reads descriptor 3 and writes descriptor 4.
"""

import asyncio
import base64
import fcntl
import json
import os
import shutil
import subprocess
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

_OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
]
_MESSAGE = 64 * 1024**2


class Chromium:
    """One process; `call` asks it, and what it says unasked is kept by session."""

    def __init__(self, reader: asyncio.StreamReader, writer: int) -> None:
        self._reader = reader
        self._writer = writer
        self._number = 0
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.said: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        self.credentials: tuple[str, str] | None = None
        self.asked_who = 0

    async def listen(self) -> None:
        while True:
            try:
                message = json.loads((await self._reader.readuntil(b"\0"))[:-1])
            except asyncio.IncompleteReadError:
                return
            if future := self._answers.pop(message.get("id", 0), None):
                if not future.done():  # its caller has given up
                    future.set_result(message)
            elif "method" in message:
                self.said[message.get("sessionId", "")].append(message)
                await self._pass_on(message)

    async def _pass_on(self, message: dict[str, Any]) -> None:
        session, of = message.get("sessionId", ""), message["params"]
        if message["method"] == "Fetch.requestPaused":
            self._send("Fetch.continueRequest", {"requestId": of["requestId"]}, session)
        elif message["method"] == "Fetch.authRequired":
            self.asked_who += 1
            answer: dict[str, str] = {"response": "CancelAuth"}
            if self.credentials:
                user, password = self.credentials
                answer = {"response": "ProvideCredentials", "username": user, "password": password}
            self._send(
                "Fetch.continueWithAuth",
                {"requestId": of["requestId"], "authChallengeResponse": answer},
                session,
            )

    def _send(self, method: str, params: dict[str, Any], session: str) -> int:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self._writer, json.dumps(message).encode() + b"\0")
        return self._number

    async def call(self, method: str, *, session: str = "", **params: Any) -> dict[str, Any]:
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._answers[self._send(method, params, session)] = future
        with anyio.fail_after(30):
            answer = await future
        assert "error" not in answer, f"{method}: {answer['error']}"
        return dict(answer["result"])

    async def page(self, *, width: int = 1280, height: int = 900) -> "Page":
        target = (await self.call("Target.createTarget", url="about:blank"))["targetId"]
        attached = await self.call("Target.attachToTarget", targetId=target, flatten=True)
        page = Page(self, attached["sessionId"])
        for domain in ("Page", "Runtime", "Log", "Network"):
            await page.call(f"{domain}.enable")
        await page.call("Fetch.enable", handleAuthRequests=True)
        await page.resize(width, height)
        return page


class Page:
    """One tab."""

    def __init__(self, chromium: Chromium, session: str) -> None:
        self._chromium = chromium
        self._session = session

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        return await self._chromium.call(method, session=self._session, **params)

    async def open(self, url: str) -> None:
        await self.call("Page.navigate", url=url)
        await self.until("location.protocol === 'http:' && document.readyState === 'complete'")

    async def run(self, script: str) -> Any:
        """Return the value of an expression in the page; promises are waited for."""
        answer = await self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def until(self, script: str, *, within: float = 30) -> None:
        """Return once an expression is true."""
        try:
            with anyio.fail_after(within):
                while not await self.run(script):
                    await anyio.sleep(0.05)
        except TimeoutError:
            text = await self.run("document.body.innerText")
            raise AssertionError(
                f"not within {within} s: {script}; the page says:\n{text}"
            ) from None

    async def text(self, selector: str) -> str:
        return str(await self.run(f"document.querySelector({json.dumps(selector)}).innerText"))

    async def resize(self, width: int, height: int) -> None:
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    async def scheme(self, name: str) -> None:
        """Prefer "light" or "dark"."""
        features = [{"name": "prefers-color-scheme", "value": name}]
        await self.call("Emulation.setEmulatedMedia", features=features)

    async def shoot(self, path: Path, *, whole: bool = True) -> None:
        """Write a picture of the page, the part below the fold included."""
        picture = await self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        await anyio.Path(path).write_bytes(base64.b64decode(picture["data"]))

    def heard(self, *methods: str) -> list[dict[str, Any]]:
        """Return the parameters of what was said of this tab."""
        said = self._chromium.said[self._session]
        return [message["params"] for message in said if message["method"] in methods]

    def complaints(self) -> list[str]:
        """Return every error and warning of the console, of the browser's own too."""
        logged = [
            f"{x['entry']['source']}: {x['entry']['text']} {x['entry'].get('url', '')}"
            for x in self.heard("Log.entryAdded")
            if x["entry"]["level"] in ("error", "warning")
        ]
        thrown = [str(x["exceptionDetails"]) for x in self.heard("Runtime.exceptionThrown")]
        called = [
            str(x["args"])
            for x in self.heard("Runtime.consoleAPICalled")
            if x["type"] in ("error", "warning", "assert")
        ]
        return logged + thrown + called

    def requests(self) -> list[str]:
        """Return the address of everything that was asked for."""
        return [str(x["request"]["url"]) for x in self.heard("Network.requestWillBeSent")]


@asynccontextmanager
async def chromium(folder: Path) -> AsyncIterator[Chromium]:
    """Run Chromium with a profile of its own in `folder`."""
    program = shutil.which("chromium")
    assert program, "chromium is missing: run tests/install.sh"
    (theirs_in, ours_out), (ours_in, theirs_out) = os.pipe(), os.pipe()
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 20) for fd in (theirs_in, theirs_out)]
    for fd in (theirs_in, theirs_out):
        os.close(fd)
    command = f'exec "$0" "$@" 3<&{high[0]} 4>&{high[1]}'
    profile = f"--user-data-dir={folder / 'chromium'}"
    with (
        (folder / "chromium.log").open("wb") as log,
        subprocess.Popen(  # noqa: ASYNC220  beside anyio's pipes, which it cannot be given
            ["bash", "-c", command, program, *_OPTIONS, profile, "about:blank"],
            pass_fds=high,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        ) as process,
    ):
        for fd in high:
            os.close(fd)
        reader = asyncio.StreamReader(limit=_MESSAGE)
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(ours_in, "rb")
        )
        browser = Chromium(reader, ours_out)
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(browser.listen)
                yield browser
                group.cancel_scope.cancel()
        finally:
            transport.close()
            os.close(ours_out)
            process.kill()
