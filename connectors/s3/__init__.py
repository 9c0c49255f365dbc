"""Folders in buckets of Amazon S3 and of stores that speak its protocol."""

from connectors.s3.access import OPTIONS, Access
from connectors.s3.folder import S3Folder
from connectors.s3.place import S3Place, is_s3, parse_s3

__all__ = ["OPTIONS", "Access", "S3Folder", "S3Place", "is_s3", "parse_s3"]
