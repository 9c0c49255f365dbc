"""Where a repository keeps its data: its cache and remotes, as `.dvc/config` says.

Remotes are read from the work tree's configuration and from every configuration that a commit ever
had: a remote that nobody uses any more still holds what was pushed to it.
"""

import configparser
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from connectors.adapters.base import StoreError

CONFIG = ".dvc/config"
_FILES = (CONFIG, ".dvc/config.local")
_REMOTE = re.compile(r"""['"]?remote\s+"([^"]+)"['"]?""")
_VERSIONED = ("version_aware", "worktree")


@dataclass(frozen=True)
class Remote:
    name: str
    url: str
    folder: Path | None = None
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
    remotes = {remote.url: remote for remote in _remotes(root, current)}
    for body in earlier:
        for remote in _remotes(root, _parsed(body)):
            remotes.setdefault(remote.url, remote)
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
    sections = {m[1]: name for name in parser.sections() if (m := _REMOTE.fullmatch(name.strip()))}
    urls = {remote: _value(parser, section, "url") for remote, section in sections.items()}
    for remote, section in sections.items():
        url = _joined(urls[remote], urls)
        if not url:
            continue
        versioned = any(_value(parser, section, key).lower() == "true" for key in _VERSIONED)
        yield _remote(root, remote, url, versioned=versioned)


def _joined(url: str, urls: dict[str, str]) -> str:
    """`remote://other/path` stands below another remote."""
    for _ in urls:
        if not url.startswith("remote://"):
            break
        parts = urlsplit(url)
        url = f"{urls.get(parts.netloc, '').rstrip('/')}{parts.path}"
    return url


def _remote(root: Path, name: str, url: str, *, versioned: bool) -> Remote:
    shown = re.sub(r"//[^/@]*@", "//", url).split("?")[0]  # never a password
    if versioned:
        return Remote(name, shown, fault="it keeps versions in the cloud (version_aware)")
    scheme = url.partition("://")[0] if "://" in url else ""
    if scheme and scheme != "file":
        return Remote(name, shown, fault=f'its address begins with "{scheme}://"')
    folder = _path(root, unquote(url.removeprefix("file://")))
    if not folder.is_dir():
        return Remote(name, str(folder), folder, fault="there is no such folder")
    return Remote(name, str(folder), folder)


def _path(root: Path, text: str) -> Path:
    """Relative paths begin at the folder of the configuration."""
    return (root / ".dvc" / Path(text).expanduser()).resolve()
