"""lakeFS: commits of a repository, the objects they share, and the block store that holds these."""

from connectors.adapters.lakefs.location import parse_place
from connectors.adapters.lakefs.store import LakefsStore

__all__ = ["LakefsStore", "parse_place"]
