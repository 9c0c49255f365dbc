"""The independent reading of everything that is left: places, work tree, git.

It follows no pointer and trusts no hash: each file is read where it lies, and each git object,
loose or packed, reachable or not. Pointers only lend a name to what has none.
"""

import hashlib

import polars as pl

from connectors.adapters.base import Progress, ScanReport, StoreError
from connectors.adapters.dvc.pieces import Area, Piece, Pieces, scan_piece
from connectors.adapters.dvc.repository import Repository
from connectors.clock import now
from connectors.scan.content import reason
from connectors.scan.folder import OPEN_UPLOAD
from connectors.scan.identifiers import Identifiers
from connectors.scan.parquet import is_parquet, prefixes_in_use
from connectors.scan.record import Record

_METHOD = (
    "every file in the cache, the remotes, the work tree and DVC's own caches, every older version "
    "that a bucket keeps, and every git object, decompressed: Parquet pages, dictionaries, "
    "statistics and notes, SQLite tables, JSON, CSV, text, and packed files decoded; all bytes and "
    "names searched"
)


class Verification:
    """One scan. `unrelated`: patterns of paths that may be in formats that cannot be decoded."""

    def __init__(
        self, repository: Repository, identifiers: Identifiers, unrelated: tuple[str, ...]
    ) -> None:
        self.repository = repository
        self.record = Record(identifiers)
        self.unrelated = unrelated
        self.pieces = Pieces(repository, sorted(identifiers.identity_names))
        self.digests: dict[str, str] = {}
        self.parquet: list[Piece] = []
        self.files = 0
        self.bytes = 0

    def run(self, progress: Progress, *, with_control: bool) -> ScanReport:
        started = now()
        files = [
            piece
            for source in (
                self.pieces.of_places(),
                (piece for _, piece in self.pieces.of_hidden()),
                self.pieces.of_work_tree(),
                self.pieces.of_site_caches(),
            )
            for piece in source
        ]
        for number, piece in enumerate(files):
            progress("scan", number, len(files) + 1, self.bytes)
            self._scan(piece)
        self._git()
        for remote in self.repository.unreachable():
            self.record.fail(f"remote {remote.name}", f"it cannot be reached: {remote.fault}")
        explained = self._explained()
        progress("scan", len(files) + 1, len(files) + 1, self.bytes)
        lines = "".join(f"{path}\n{digest}\n" for path, digest in sorted(self.digests.items()))
        unreadable = sorted(self.record.unreadable.items())
        return ScanReport(
            files=self.files,
            bytes=self.bytes,
            traces=self.record.traces(explained),
            unreadable=tuple(f"{path}: {why}" for path, why in unreadable),
            control_found=self.record.control_found if with_control else None,
            digest=hashlib.sha256(lines.encode(errors="surrogateescape")).hexdigest(),
            started_at=started,
            finished_at=now(),
            method=_METHOD,
        )

    def _git(self) -> None:
        """Git is asked for its objects one after the other; damage ends it, and fails the scan."""
        try:
            for piece in self.pieces.of_git():
                self._scan(piece)
            for name in self.repository.git.names_in_index():
                scan_piece(Piece(Area.GIT_FILE, ".git/index", name), b"", self.record, ())
        except StoreError as exc:
            self.record.fail("git objects", str(exc))

    def _scan(self, piece: Piece) -> None:
        self.files += 1
        if piece.is_link:
            if not self.pieces.leads_inside(piece):
                self.record.fail(piece.path, "it is a symbolic link out of the repository")
            return
        if piece.is_upload:
            self.record.fail(piece.path, OPEN_UPLOAD)
            return
        try:
            with piece.opened() as body:
                self.digests[piece.path] = hashlib.sha256(body).hexdigest()
                self.bytes += len(body)
                # An older version explains nothing of what readers see.
                if is_parquet(bytes(body[:4])) and piece.area is not Area.HIDDEN:
                    self.parquet.append(piece)
                scan_piece(piece, body, self.record, self.unrelated)
        except StoreError:
            raise
        # Whatever damage raises, a panic inside polars too: the file was not read.
        except (Exception, pl.exceptions.PanicException) as exc:  # noqa: BLE001
            self.record.fail(piece.path, reason(exc))

    def _explained(self) -> set[str]:
        """Prefixes of suspects with which a survivor's value in the data begins, too."""
        prefixes = set(self.record.suspects)
        explained: set[str] = set()
        for piece in self.parquet:
            if not prefixes - explained:
                break
            explained |= prefixes_in_use(
                piece.read(), prefixes - explained, self.record.identifiers
            )
        return explained
