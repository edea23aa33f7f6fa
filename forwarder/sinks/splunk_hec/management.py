"""What Splunk has indexed, asked of its management port through splunk-sdk.

https://help.splunk.com/en/splunk-enterprise/rest-api-reference, "search/v2/jobs/export". The SDK
is imported on first use and is not on the way of events.
"""

from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from http.client import HTTPException
from itertools import islice
from typing import Any, Final
from urllib.parse import urlsplit

from anyio import to_thread
from pydantic import Field, field_validator

from forwarder.errors import AccessError, ForwarderError, PermanentError, TransientError
from forwarder.options import Options, TlsOptions, Wait, as_written
from forwarder.secret import Secret

_AT_ONCE: Final = 10_000
_REMEDY: Final = (
    "check management.url and management.token: the token's user may search the index, and its "
    "role has the capability search"
)


class ManagementOptions(Options):
    """Splunk's management port: `reconcile` asks there, `provision splunk --sink` makes alerts."""

    url: str | None = Field(
        default=None,
        description="Its address; without it Splunk cannot be asked what it holds.",
        examples=["https://splunk:8089"],
    )
    token: Secret | None = Field(
        default=None, description="Authentication token of a user who may search the index."
    )
    timeout: Wait = Field(
        default=as_written("5m"), gt=0, description="Longest silence of a search."
    )
    tls: TlsOptions = TlsOptions()

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        is_bare = not parts.path.strip("/") and parts.username is None
        if parts.scheme not in ("http", "https") or not parts.hostname or not is_bare:
            raise ValueError('must be scheme, host and port alone, such as "https://splunk:8089"')
        return url.rstrip("/")


class Management:
    """Asks one Splunk for the ids in `index` (any, if None) that came under `source`."""

    def __init__(self, options: ManagementOptions, *, index: str | None, source: str) -> None:
        self._options = options
        self._index = index
        self._source = source

    async def event_ids(self, since: datetime, until: datetime) -> AsyncIterator[str]:
        """Yield the ids of what was indexed for `since` to `until`, each as often as it is there.

        Raises:
            TransientError, AccessError: what was yielded is not all.
            PermanentError: management is not configured.
        """
        if self._options.url is None or self._options.token is None:
            raise PermanentError(
                "Splunk cannot be asked without its management port",
                remedy="set management.url and management.token of this sink",
            )
        rows = self._rows(since, until)
        while some := await to_thread.run_sync(_some, rows, abandon_on_cancel=True):
            for event_id, count in some:
                for _ in range(count):
                    yield event_id

    def _rows(self, since: datetime, until: datetime) -> Iterator[tuple[str, int]]:
        from splunklib.binding import HTTPError
        from splunklib.results import JSONResultsReader, Message

        where = f"Splunk's management port {self._options.url}"
        try:
            found = service(self._options).jobs.export(
                self._search(),
                output_mode="json",
                preview=False,
                earliest_time=f"{since.timestamp():.3f}",
                latest_time=f"{until.timestamp():.3f}",
            )
            reader = JSONResultsReader(found)
            for row in reader:
                if isinstance(row, Message):
                    if row.type in ("ERROR", "FATAL"):
                        raise TransientError(f"{where}: the search failed: {row.message}")
                elif not reader.is_preview:
                    yield str(row["event_id"]), int(row["count"])
        except HTTPError as error:
            raise _failure(where, error.status, error.reason) from None
        except (OSError, HTTPException) as error:
            said = str(error) or type(error).__name__
            raise TransientError(f"{where}: {said}", remedy=_REMEDY) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise AccessError(
                f"{where}: the answer is not Splunk's ({type(error).__name__})",
                remedy="check management.url: something else answers there",
            ) from error

    def _search(self) -> str:
        """Return a search over the indexed field that every envelope carries.

        `tstats` reads indexed fields alone, so an id that is in the event's own text too is not
        counted twice.
        """
        index = "*" if self._index is None else _quoted(self._index)
        return (
            f"| tstats count where index={index} source={_quoted(self._source)}"
            " event_id=* by event_id"
        )


def service(options: ManagementOptions, **more: Any) -> Any:  # noqa: ANN401  the SDK is untyped
    """Return splunk-sdk's service at `options.url`, which is there, and asks nothing yet.

    `more` is what the SDK takes besides: a user, an app. Certificates are verified.

    Raises:
        ConfigError: the TLS files cannot be used.
        AccessError: the token's file cannot be read.
    """
    from splunklib import binding, client

    parts = urlsplit(options.url or "")
    # The SDK verifies nothing unless told so, and ignores a context unless it verifies.
    context = options.tls.context() if parts.scheme == "https" else None
    ask = binding.handler(timeout=options.timeout, verify=True, context=context)
    return client.Service(
        scheme=parts.scheme,
        host=parts.hostname,
        port=parts.port or 8089,
        splunkToken=options.token.reveal() if options.token else "",
        handler=ask,
        autologin=False,
        retries=0,
        **more,
    )


def _some(rows: Iterator[tuple[str, int]]) -> list[tuple[str, int]]:
    return list(islice(rows, _AT_ONCE))


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _failure(where: str, status: int, reason: str) -> ForwarderError:
    said = f"{where}: HTTP {status} {reason}"
    if status in (408, 429) or status >= 500:
        return TransientError(said)
    return AccessError(said, remedy=_REMEDY)
