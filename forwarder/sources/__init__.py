"""One source, one file, or one folder where it has parts of its own. This is the catalogue."""

from forwarder.sources.bitbucket_audit import BitbucketAuditConfig

SourceConfig = BitbucketAuditConfig
"""Every source's config, told apart by its ``type``."""
