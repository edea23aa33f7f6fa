"""One source, one file, or one folder where it has parts of its own. This is the catalogue."""

from typing import Annotated

from pydantic import Discriminator

from forwarder.sources.bitbucket_audit import BitbucketAuditConfig
from forwarder.sources.bitbucket_audit_log import BitbucketAuditLogConfig
from forwarder.sources.bitbucket_repository_audit import BitbucketRepositoryAuditConfig

SourceConfig = Annotated[
    BitbucketAuditConfig | BitbucketAuditLogConfig | BitbucketRepositoryAuditConfig,
    Discriminator("type"),
]
"""Every source's config, told apart by its ``type``."""
