"""Where a repository keeps its data: its cache and remotes, as `.dvc/config` says.

Remotes are read from the work tree's configuration and from every configuration that a commit ever
had: a remote that nobody uses any more still holds what was pushed to it.
"""

import configparser
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from connectors.adapters.base import StoreError

CONFIG = ".dvc/config"
_FILES = (CONFIG, ".dvc/config.local")
_REMOTE = re.compile(r"""['"]?remote\s+"([^"]+)"['"]?""")
_VERSIONED = ("version_aware", "worktree")


@dataclass(frozen=True)
class BucketAddress:
    """What a configuration says of a remote in a bucket. It says more, keys above all, which is
    not read: whoever may commit writes it. `location`: s3://bucket/prefix."""

    location: str
    endpoint: str = ""
    region: str = field(default="", compare=False)  # of the request, not of the place


Address = Path | BucketAddress


@dataclass(frozen=True)
class Remote:
    name: str
    url: str
    address: Address | None = None
    fault: str = ""  # why this installation cannot reach it


@dataclass(frozen=True)
class Settings:
    cache: Path
    remotes: tuple[Remote, ...]
    site_cache: Path | None = None  # if the repository names one of its own
    hard_link_lock: bool = False  # a lock of another kind than ours


def read_settings(root: Path, earlier: Iterable[bytes] = ()) -> Settings:
    """`earlier`: the texts of `.dvc/config` in commits. Raises StoreError for the work tree's."""
    current = _parser()
    for name in _FILES:
        location = root / name
        if location.is_file():
            try:
                current.read_string(location.read_text())
            except (OSError, UnicodeDecodeError, configparser.Error) as exc:
                raise StoreError(
                    f"{name} in {root} cannot be read ({type(exc).__name__}). Correct it."
                ) from exc
    remotes = {(remote.url, remote.address): remote for remote in _remotes(root, current)}
    for body in earlier:
        for remote in _remotes(root, _parsed(body)):
            remotes.setdefault((remote.url, remote.address), remote)
    site_cache = _value(current, "core", "site_cache_dir")
    return Settings(
        cache=_path(root, _value(current, "cache", "dir") or "cache"),
        remotes=tuple(sorted(remotes.values(), key=lambda remote: (remote.name, remote.url))),
        site_cache=_path(root, site_cache) if site_cache else None,
        hard_link_lock=_value(current, "core", "hardlink_lock").lower() == "true",
    )


def _parser() -> configparser.ConfigParser:
    return configparser.ConfigParser(interpolation=None, strict=False, delimiters=("=",))


def _parsed(body: bytes) -> configparser.ConfigParser:
    parser = _parser()
    try:
        parser.read_string(body.decode())
    except (UnicodeDecodeError, configparser.Error):
        return _parser()  # nobody could push with it
    return parser


def _value(parser: configparser.ConfigParser, section: str, key: str) -> str:
    return parser.get(section, key, fallback="").strip().strip("\"'")


def _remotes(root: Path, parser: configparser.ConfigParser) -> Iterable[Remote]:
    said = {
        m[1]: {key: _value(parser, name, key) for key in parser[name]}
        for name in parser.sections()
        if (m := _REMOTE.fullmatch(name.strip()))
    }
    for remote in said:
        options = _joined(remote, said)
        if options.get("url"):
            yield _remote(root, remote, options)


def _joined(remote: str, said: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """What is said of a remote. `remote://other/path` stands below another one, and takes over
    what is said of that."""
    options = dict(said[remote])
    for _ in said:
        url = options.get("url", "")
        if not url.startswith("remote://"):
            break
        parts = urlsplit(url)
        base = said.get(parts.netloc, {})
        options = {**base, **options, "url": f"{base.get('url', '').rstrip('/')}{parts.path}"}
    return options


def _remote(root: Path, name: str, options: Mapping[str, str]) -> Remote:
    url = options["url"]
    shown = re.sub(r"//[^/@]*@", "//", url).split("?")[0]  # never a password
    address = _address(root, url, options)
    fault = ""
    if any(options.get(key, "").lower() == "true" for key in _VERSIONED):
        fault = "it keeps versions in the cloud (version_aware)"
    elif address is None:
        fault = f'its address begins with "{url.partition("://")[0]}://"'
    elif isinstance(address, Path):
        shown = str(address)
        fault = "" if address.is_dir() else "there is no such folder"
    return Remote(name, shown, address, fault)


def _address(root: Path, url: str, options: Mapping[str, str]) -> Address | None:
    scheme = url.partition("://")[0] if "://" in url else "file"
    if scheme == "s3":
        endpoint = options.get("endpointurl", "").rstrip("/")
        return BucketAddress(url.rstrip("/"), endpoint, options.get("region", ""))
    return _path(root, unquote(url.removeprefix("file://"))) if scheme == "file" else None


def _path(root: Path, text: str) -> Path:
    """Relative paths begin at the folder of the configuration."""
    return (root / ".dvc" / Path(text).expanduser()).resolve()
