"""A stand-in for a lakeFS server: one repository in memory, its objects in a folder or a bucket.

No lakeFS server runs where these tests do. This one keeps state as the real one does (branches with
changes that are not committed, commits, tags, protected branches, merges with three sides, hooks
before a merge), and each of its answers is built with the vendor's own models, so an answer of
another shape cannot be given. `test_lakefs_server` compares its paths, methods and statuses with
those that the vendor's client knows.
"""

import base64
import fnmatch
import hashlib
import importlib
import json
import re
import threading
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

import yaml

if TYPE_CHECKING:
    from tests.connectors.s3_builders import Bucket

models: Any = importlib.import_module("lakefs_sdk.models")  # it exports them, and does not say so

NAMESPACE = "local://shop-store/main"
REPOSITORY = "shop"
KEY, SECRET = "AKIATESTSTESTSTESTS", "the-secret-of-the-tests"
_START = 1_780_000_000  # seconds; each commit is a minute after the one before


class Stored(NamedTuple):
    address: str
    checksum: str
    size: int
    metadata: dict[str, str]


@dataclass(frozen=True)
class Commit:
    id: str
    parents: tuple[str, ...]
    message: str
    committer: str
    date: int
    tree: Mapping[str, Stored]
    metadata: Mapping[str, str]

    @property
    def meta_range(self) -> str:
        return digest(*(f"{path} {o.address}" for path, o in sorted(self.tree.items())))


@dataclass
class Branch:
    head: str
    staged: dict[str, Stored | None] = field(default_factory=dict)


class RefusedError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


# What is called before a merge, as the server would POST it: (url, headers, body) → status.
Webhook = Callable[[str, Mapping[str, str], dict[str, Any]], int]


class BlockStore(Protocol):
    """The server's block adapter: keeps what it is given under an address below the namespace."""

    @property
    def namespace(self) -> str: ...

    @property
    def options(self) -> dict[str, str]:
        """By which a connector reaches it."""
        ...

    def write(self, address: str, body: bytes) -> None: ...

    def read(self, address: str) -> bytes | None:
        """None where nothing is there."""
        ...


@dataclass(frozen=True)
class LocalBlocks:
    folder: Path
    namespace: str = NAMESPACE

    @property
    def options(self) -> dict[str, str]:
        return {"block_folder": str(self.folder)}

    def at(self, address: str) -> Path:
        return self.folder / address.removeprefix("local://")

    def write(self, address: str, body: bytes) -> None:
        location = self.at(address)
        location.parent.mkdir(parents=True, exist_ok=True)
        location.write_bytes(body)

    def read(self, address: str) -> bytes | None:
        return self.at(address).read_bytes() if self.at(address).exists() else None


@dataclass(frozen=True)
class S3Blocks:
    bucket: "Bucket"
    prefix: str

    @property
    def namespace(self) -> str:
        return f"s3://{self.bucket.name}/{self.prefix}"

    @property
    def options(self) -> dict[str, str]:
        return self.bucket.server.options

    def key(self, address: str) -> str:
        return address.removeprefix(f"s3://{self.bucket.name}/")

    def write(self, address: str, body: bytes) -> None:
        self.bucket.put(self.key(address), body)

    def read(self, address: str) -> bytes | None:
        try:
            return self.bucket.body(self.key(address))
        except self.bucket.client.exceptions.NoSuchKey:
            return None


class Shop:
    """The state: the repository `shop`, its bytes in a block store."""

    def __init__(self, blocks: BlockStore) -> None:
        self.blocks = blocks
        self.namespace = blocks.namespace
        self.users = {KEY: SECRET}
        self.commits: dict[str, Commit] = {}
        self.branches: dict[str, Branch] = {}
        self.tags: dict[str, str] = {}
        self.protected: list[str] = []
        self.read_only = False
        self.gc_rules: dict[str, Any] | None = None
        self.environment: dict[str, str] = {}  # of the server, for {{ ENV.X }}
        self.webhook: Webhook | None = None
        self.runs: list[dict[str, Any]] = []
        self.failing = 0  # the status that everything is answered with
        self.redirect = ""  # to which everything is sent on
        self.before: Callable[[str, str], None] = lambda _method, _path: None
        self.requests: list[str] = []
        first = self._add((), "Repository created", {}, {})
        self.branches["main"] = Branch(first.id)

    @property
    def disk(self) -> LocalBlocks:
        assert isinstance(self.blocks, LocalBlocks)
        return self.blocks

    @property
    def folder(self) -> Path:
        return self.disk.at(self.disk.namespace)

    def path_of(self, stored: Stored) -> Path:
        return self.disk.at(stored.address)

    def body(self, stored: Stored) -> bytes:
        """Raises RefusedError 410 where the data is gone."""
        found = self.blocks.read(stored.address)
        if found is None:
            raise RefusedError(410, "no data")
        return found

    def _add(
        self, parents: tuple[str, ...], message: str, tree: Mapping[str, Stored],
        metadata: Mapping[str, str],
    ) -> Commit:  # fmt: skip
        date = _START + 60 * len(self.commits)
        name = digest(*parents, message, str(date), *(f"{p}{o}" for p, o in sorted(tree.items())))
        commit = Commit(name, parents, message, "dana", date, dict(tree), dict(metadata))
        self.commits[name] = commit
        text = json.dumps({path: stored.address for path, stored in tree.items()})
        listing = b"\x00\x01range" + zlib.compress(text.encode())
        self.blocks.write(f"{self.blocks.namespace}/_lakefs/{commit.meta_range}", listing)
        return commit

    def resolve(self, ref: str) -> tuple[Commit, dict[str, Stored]]:
        """The commit of a ref, and what can be read under it: a branch shows open changes too."""
        if branch := self.branches.get(ref):
            commit = self.commits[branch.head]
            tree = {**commit.tree, **branch.staged}
            return commit, {path: o for path, o in sorted(tree.items()) if o is not None}
        name = self.tags.get(ref, ref)
        commits = [c for n, c in self.commits.items() if n == name or n.startswith(name)]
        if len(name) < 6 or len(commits) != 1:
            raise RefusedError(404, f"not found: {ref}")
        return commits[0], dict(sorted(commits[0].tree.items()))

    def branch(self, name: str) -> Branch:
        if name not in self.branches:
            raise RefusedError(404, "branch not found")
        return self.branches[name]

    def writable(self, name: str) -> Branch:
        branch = self.branch(name)
        if self.read_only:
            raise RefusedError(403, "read-only repository")
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in self.protected):
            raise RefusedError(403, "cannot write to protected branch")
        return branch

    def begin(self, name: str, source: str) -> str:
        if self.read_only:
            raise RefusedError(403, "read-only repository")
        if not re.fullmatch(r"\w[-\w]*", name):
            raise RefusedError(400, "invalid branch name")
        if name in self.branches:
            raise RefusedError(409, "branch already exists")
        commit, _ = self.resolve(source)
        self.branches[name] = Branch(commit.id)
        return commit.id

    def put(
        self, branch: str, path: str, body: bytes, metadata: Mapping[str, str] | None = None
    ) -> Stored:
        target = self.writable(branch)
        address = f"{self.blocks.namespace}/data/{uuid.uuid4().hex[:20]}/{uuid.uuid4().hex[:20]}"
        checksum = hashlib.md5(body, usedforsecurity=False).hexdigest()
        stored = Stored(address, checksum, len(body), dict(metadata or {}))
        self.blocks.write(address, body)
        target.staged[path] = stored
        return stored

    def remove(self, branch: str, path: str) -> None:
        self.writable(branch).staged[path] = None

    def commit(
        self, branch: str, message: str, metadata: Mapping[str, str] | None = None
    ) -> Commit:
        target = self.writable(branch)
        head, tree = self.resolve(branch)
        if tree == dict(sorted(head.tree.items())):
            raise RefusedError(400, "commit: no changes")
        made = self._add((target.head,), message, tree, metadata or {})
        target.head, target.staged = made.id, {}
        return made

    def log(self, ref: str, *, first_parent: bool = False) -> list[Commit]:
        found: dict[str, Commit] = {}
        waiting = [self.resolve(ref)[0].id]
        while waiting:
            commit = self.commits[waiting.pop()]
            found[commit.id] = commit
            parents = commit.parents[:1] if first_parent else commit.parents
            waiting += [p for p in parents if p not in found]
        return sorted(found.values(), key=lambda c: (-c.date, c.id))

    def base_of(self, ours: Commit, theirs: Commit) -> Commit:
        ancestors = {c.id for c in self.log(ours.id)}
        return next(c for c in self.log(theirs.id) if c.id in ancestors)

    def merge(self, source: str, branch: str, given: Any) -> Commit:
        """Raises RefusedError: 409 where both sides changed a path, 412 where a hook says no."""
        target = self.branch(branch)
        if self.read_only:
            raise RefusedError(403, "read-only repository")
        if target.staged:
            raise RefusedError(400, f"{branch}: uncommitted changes (dirty branch)")
        theirs, ours = self.resolve(source)[0], self.commits[target.head]
        base = self.base_of(ours, theirs).tree
        tree = dict(ours.tree)
        for path in base.keys() | theirs.tree.keys():
            new = theirs.tree.get(path)
            if new == base.get(path):
                continue
            if ours.tree.get(path) not in (base.get(path), new):
                raise RefusedError(409, "conflict found")
            tree.pop(path, None)
            if new is not None:
                tree[path] = new
        if tree == ours.tree and not given.allow_empty:
            raise RefusedError(400, "merge: no changes")
        self._run_hooks(theirs, source, branch, ours, given)
        parents = (ours.id,) if given.squash_merge else (ours.id, theirs.id)
        message = given.message or f"Merge '{source}' into '{branch}'"
        made = self._add(parents, message, tree, given.metadata or {})
        target.head = made.id
        return made

    def _run_hooks(
        self, theirs: Commit, source: str, branch: str, ours: Commit, given: Any
    ) -> None:
        """Actions are read from the source commit. Any answer but 2xx aborts the merge."""
        for path, stored in theirs.tree.items():
            if not path.startswith("_lakefs_actions/"):
                continue
            action = yaml.safe_load(self.body(stored))
            on = action.get("on", action.get(True))["pre-merge"]
            if not any(fnmatch.fnmatchcase(branch, pattern) for pattern in on["branches"]):
                continue
            for hook in action["hooks"]:
                event = {
                    "event_type": "pre-merge",
                    "event_time": "2026-11-26T12:00:00Z",
                    "action_name": action["name"],
                    "hook_id": hook["id"],
                    "repository_id": REPOSITORY,
                    "branch_id": branch,
                    "source_ref": theirs.id,
                    "merge_source": source,
                    "commit_id": ours.id,
                    "commit_message": given.message or "",
                    "committer": "dana",
                    "commit_metadata": dict(given.metadata or {}),
                }
                self._post(hook["properties"], event)

    def _post(self, properties: Mapping[str, Any], event: dict[str, Any]) -> None:
        headers = {
            name: re.sub(r"\{\{ ENV\.(\w+) \}\}", lambda m: self.environment[m[1]], value)
            for name, value in properties.get("headers", {}).items()
        }
        assert self.webhook is not None, "a hook runs, and nothing receives it"
        query = urlencode(properties.get("query_params", {}))
        status = self.webhook(f"{properties['url']}?{query}", headers, event)
        self.runs.append(event | {"status": status})
        if not 200 <= status < 300:
            raise RefusedError(412, f"pre-merge hook aborted, status {status}")


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, shop: Shop) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.shop = shop

    @property
    def location(self) -> str:
        return f"http://127.0.0.1:{self.server_port}#{REPOSITORY}"


@contextmanager
def served(shop: Shop) -> Iterator[Server]:
    server = Server(shop)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass(frozen=True)
class Asked:
    """A request. `names`: what stands in the path for {ref}, {branch} and so on."""

    shop: Shop
    names: dict[str, str]
    query: dict[str, str]
    headers: Mapping[str, str]
    body: bytes

    def model(self, kind: Any) -> Any:
        return kind.parse_raw(self.body or b"{}")


class Answer(NamedTuple):
    status: int
    body: bytes = b""
    kind: str = "application/json"


def _answer(status: int, model: Any) -> Answer:
    return Answer(status, model.json(by_alias=True, exclude_none=True).encode())


def _page(asked: Asked, kind: Any, items: list[tuple[str, dict[str, Any]]]) -> Answer:
    """`items`: (what comes `after`, the item), in order."""
    amount = int(asked.query.get("amount", 100))
    names = [name for name, _ in items]
    after = asked.query.get("after", "")
    begin = names.index(after) + 1 if after in names else 0
    shown = items[begin : begin + amount]
    more = begin + amount < len(items)
    pagination = {
        "has_more": more,
        "next_offset": shown[-1][0] if more else "",
        "results": len(shown),
        "max_per_page": 1000,
    }
    return _answer(200, kind(pagination=pagination, results=[item for _, item in shown]))


def _commit_model(commit: Commit) -> dict[str, Any]:
    body: dict[str, Any] = models.Commit(
        id=commit.id, parents=list(commit.parents), committer=commit.committer,
        message=commit.message, creation_date=commit.date, meta_range_id=commit.meta_range,
        metadata=dict(commit.metadata),
    ).dict()  # fmt: skip
    return body


def _stats(path: str, stored: Stored) -> dict[str, Any]:
    body: dict[str, Any] = models.ObjectStats(
        path=path, path_type="object", physical_address=stored.address, checksum=stored.checksum,
        size_bytes=stored.size, mtime=_START, metadata=stored.metadata,
    ).dict()  # fmt: skip
    return body


def _repository(asked: Asked) -> Answer:
    shop = asked.shop
    return _answer(200, models.Repository(
        id=REPOSITORY, creation_date=_START, default_branch="main",
        storage_namespace=shop.namespace, read_only=shop.read_only,
    ))  # fmt: skip


def _branches(asked: Asked) -> Answer:
    found = [(n, {"id": n, "commit_id": b.head}) for n, b in sorted(asked.shop.branches.items())]
    return _page(asked, models.RefList, found)


def _create_branch(asked: Asked) -> Answer:
    made = asked.model(models.BranchCreation)
    return Answer(201, asked.shop.begin(made.name, made.source).encode(), "text/html")


def _branch(asked: Asked) -> Answer:
    name = asked.names["branch"]
    return _answer(200, models.Ref(id=name, commit_id=asked.shop.branch(name).head))


def _delete_branch(asked: Asked) -> Answer:
    asked.shop.branch(asked.names["branch"])
    del asked.shop.branches[asked.names["branch"]]
    return Answer(204)


def _tags(asked: Asked) -> Answer:
    found = [(n, {"id": n, "commit_id": c}) for n, c in sorted(asked.shop.tags.items())]
    return _page(asked, models.RefList, found)


def _log(asked: Asked) -> Answer:
    first_parent = asked.query.get("first_parent", "").lower() == "true"
    commits = asked.shop.log(asked.names["ref"], first_parent=first_parent)
    found = [(c.id, _commit_model(c)) for c in commits]
    return _page(asked, models.CommitList, found)


def _get_commit(asked: Asked) -> Answer:
    commit, _ = asked.shop.resolve(asked.names["commitId"])
    return _answer(200, models.Commit(**_commit_model(commit)))


def _objects(asked: Asked) -> Answer:
    _, tree = asked.shop.resolve(asked.names["ref"])
    prefix = asked.query.get("prefix", "")
    found = [(path, _stats(path, o)) for path, o in tree.items() if path.startswith(prefix)]
    return _page(asked, models.ObjectStatsList, found)


def _at(asked: Asked) -> tuple[str, Stored]:
    _, tree = asked.shop.resolve(asked.names["ref"])
    path = asked.query["path"]
    if path not in tree:
        raise RefusedError(404, "not found")
    return path, tree[path]


def _stat(asked: Asked) -> Answer:
    return _answer(200, models.ObjectStats(**_stats(*_at(asked))))


def _get_object(asked: Asked) -> Answer:
    body = asked.shop.body(_at(asked)[1])
    if "Range" in asked.headers:
        return Answer(206, body[:1], "application/octet-stream")
    return Answer(200, body, "application/octet-stream")


def _upload(asked: Asked) -> Answer:
    kind = asked.headers["Content-Type"]
    boundary = re.search(r"boundary=(.+)", kind)
    body = asked.body
    if boundary:
        part = body.split(b"--" + boundary[1].encode())[1]
        body = part.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n")
    prefix = "x-lakefs-meta-"
    metadata = {
        name.lower().removeprefix(prefix): value
        for name, value in asked.headers.items()
        if name.lower().startswith(prefix)
    }
    path = asked.query["path"]
    stored = asked.shop.put(asked.names["branch"], path, body, metadata)
    return _answer(201, models.ObjectStats(**_stats(path, stored)))


def _delete_object(asked: Asked) -> Answer:
    asked.shop.remove(asked.names["branch"], asked.query["path"])
    return Answer(204)


def _commit(asked: Asked) -> Answer:
    given = asked.model(models.CommitCreation)
    made = asked.shop.commit(asked.names["branch"], given.message, given.metadata)
    return _answer(201, models.Commit(**_commit_model(made)))


def _diff(left: Mapping[str, Stored], right: Mapping[str, Stored]) -> list[tuple[str, Any]]:
    found = []
    for path in sorted(left.keys() | right.keys()):
        old, new = left.get(path), right.get(path)
        if old != new:
            kind = "added" if old is None else "removed" if new is None else "changed"
            size = (new or old or Stored("", "", 0, {})).size
            body = {"type": kind, "path": path, "path_type": "object", "size_bytes": size}
            found.append((path, models.Diff(**body).dict()))
    return found


def _uncommitted(asked: Asked) -> Answer:
    asked.shop.branch(asked.names["branch"])
    head, tree = asked.shop.resolve(asked.names["branch"])
    return _page(asked, models.DiffList, _diff(head.tree, tree))


def _diff_refs(asked: Asked) -> Answer:
    shop = asked.shop
    left, right = (shop.resolve(asked.names[n]) for n in ("leftRef", "rightRef"))
    if asked.query.get("type", "three_dot") == "three_dot":
        left = (left[0], dict(shop.base_of(left[0], right[0]).tree))
    return _page(asked, models.DiffList, _diff(left[1], right[1]))


def _merge(asked: Asked) -> Answer:
    given = asked.model(models.Merge)
    names = asked.names
    made = asked.shop.merge(names["sourceRef"], names["destinationBranch"], given)
    return _answer(200, models.MergeResult(reference=made.id))


_REPO = "/repositories/{repository}"
ROUTES: dict[tuple[str, str], Callable[[Asked], Answer]] = {
    ("GET", _REPO): _repository,
    ("GET", f"{_REPO}/branches"): _branches,
    ("POST", f"{_REPO}/branches"): _create_branch,
    ("GET", f"{_REPO}/branches/{{branch}}"): _branch,
    ("DELETE", f"{_REPO}/branches/{{branch}}"): _delete_branch,
    ("GET", f"{_REPO}/branches/{{branch}}/diff"): _uncommitted,
    ("POST", f"{_REPO}/branches/{{branch}}/objects"): _upload,
    ("DELETE", f"{_REPO}/branches/{{branch}}/objects"): _delete_object,
    ("POST", f"{_REPO}/branches/{{branch}}/commits"): _commit,
    ("GET", f"{_REPO}/tags"): _tags,
    ("GET", f"{_REPO}/commits/{{commitId}}"): _get_commit,
    ("GET", f"{_REPO}/refs/{{ref}}/commits"): _log,
    ("GET", f"{_REPO}/refs/{{ref}}/objects"): _get_object,
    ("GET", f"{_REPO}/refs/{{ref}}/objects/ls"): _objects,
    ("GET", f"{_REPO}/refs/{{ref}}/objects/stat"): _stat,
    ("GET", f"{_REPO}/refs/{{leftRef}}/diff/{{rightRef}}"): _diff_refs,
    ("POST", f"{_REPO}/refs/{{sourceRef}}/merge/{{destinationBranch}}"): _merge,
}


def _matched(method: str, path: str) -> tuple[Callable[[Asked], Answer], dict[str, str]] | None:
    for (wanted, route), handle in ROUTES.items():
        names = re.findall(r"\{(\w+)\}", route)
        pattern = re.sub(r"\{\w+\}", "([^/]+)", route)
        if wanted == method and (found := re.fullmatch(f"/api/v1{pattern}", path)):
            return handle, dict(zip(names, map(unquote, found.groups()), strict=True))
    return None


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet, or each answer waits for the client's system

    def log_message(self, *_: Any) -> None:
        return

    def _handle(self) -> None:
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            answer = self._answered(parts.path, parts.query, body)
        except RefusedError as exc:
            answer = _answer(exc.status, models.Error(message=str(exc)))
        self.send_response(answer.status)
        if self.server.shop.redirect:
            self.send_header("Location", self.server.shop.redirect)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def _answered(self, path: str, query: str, body: bytes) -> Answer:
        shop = self.server.shop
        given = base64.b64decode(self.headers.get("Authorization", "").removeprefix("Basic "))
        user, _, secret = given.decode().partition(":")
        if shop.users.get(user) != secret or not secret:
            raise RefusedError(401, "error authenticating request")
        if shop.failing:
            raise RefusedError(shop.failing, "failing")
        matched = _matched(self.command, path)
        if matched is None:
            raise RefusedError(404, "no such endpoint")
        handle, names = matched
        if names["repository"] != REPOSITORY:
            raise RefusedError(404, "repository not found")
        shop.before(self.command, path)
        asked = {name: values[0] for name, values in parse_qs(query).items()}
        shop.requests.append(f"{user} {self.command} {path}")
        return handle(Asked(shop, names, asked, dict(self.headers.items()), body))

    do_GET = do_POST = do_DELETE = _handle  # noqa: N815
