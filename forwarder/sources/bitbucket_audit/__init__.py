"""The source `bitbucket_audit`: Bitbucket Data Center's audit log over REST."""

from typing import Literal

from forwarder.options import SourceOptions


class BitbucketAuditConfig(SourceOptions):
    """``[sources.NAME]`` with ``type = "bitbucket_audit"``."""

    type: Literal["bitbucket_audit"]
