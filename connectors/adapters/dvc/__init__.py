"""DVC: data whose versions are pointers in git, and whose bytes lie in a cache and in remotes."""

from connectors.adapters.dvc.store import DvcStore

__all__ = ["DvcStore"]
