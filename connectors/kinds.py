"""The kinds of stores: what is told of each where one is connected, by page and API."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """`what` it is; `locations`: how the place of one is written; `options` that it takes, as
    (`name = example`, what it means)."""

    what: str
    locations: tuple[str, ...]
    options: tuple[tuple[str, str], ...] = ()
    branches: bool = False  # it has as many current versions as branches, and not one


_UNRELATED = ("unrelated_columns = [city]", "columns whose texts may equal an identifier by chance")
_INDEX = (
    "subject_index = false",
    "keep no index of the people in it: searches then read every file",
)
_GRACE = (
    "orphan_grace_minutes = 60",
    "how long a purge leaves files that may belong to a writer who is about to commit",
)
_HISTORY = (
    "history = keep",
    "older versions stay readable without the erased, their files and the log are rewritten; "
    "purge, the default, cuts them off",
)
_SNAPSHOTS = (
    "history = keep",
    "every snapshot stays readable without the erased, their files and the metadata are rewritten "
    "(not through a REST catalog); purge, the default, expires them",
)
_COMMITS = (
    (
        "history = keep",
        "every version stays readable without the erased: commits that hold them, and all after "
        "these, are written anew under other ids; purge, the default, cuts older versions off",
    ),
    (
        "drop_signatures = true",
        "signed commits and tags that get other ids may go without; else they block the plan",
    ),
)
_ENGINE = (
    (
        "engine = spark",
        "the workers of a Spark-Connect cluster (Sail, Apache Spark) search its files, one a task, "
        "and rewrite them (plain ones on a disk only); local, the default: the worker of the queue "
        "does",
    ),
    (
        "engine_address = sc://spark.example:15002",
        "the cluster's; by TLS, except on this machine; with engine_token_env = SPARK_TOKEN, the "
        "variable that holds its token, or engine_token_file, where it wants one",
    ),
    (
        "engine_key_env = SPARK_TASK_KEY",
        "the variable that holds a secret of installation and workers, under which tasks are "
        "sealed, or engine_key_file: clusters may keep what they are sent in their logs",
    ),
    ("engine_tasks = 8", "at how many files it works at once: no more than it has slots"),
)
_DIALECT = (
    ("encoding = cp1252", "of CSV files; also delimiter, quote, escape, where not found out"),
    ("text_columns = [note]", "free text in which people may be named"),
    ("number_columns = [customer_id]", 'identifiers whose texts are numbers: "4" is "00004"'),
    ("unrelated_files = [products*.csv]", "files with rows that name nobody"),
)
_SIGN_IN = (
    "user = shop_reader",
    "and password_env = SHOP_DB_PASSWORD, the variable that holds the password, or password_file; "
    "the same with writer_ and verifier_ before them",
)

_S3_KEYS = (
    (
        "key_id_env = LAKE_ACCESS_KEY_ID",
        "and secret_key_env = LAKE_SECRET_ACCESS_KEY, the variables that hold the key to a bucket, "
        "or key_id_file and secret_key_file; the same with writer_ and verifier_ before them; "
        "without, what boto3 finds by itself",
    ),
)
_S3 = (
    ("region = eu-central-1", "of an s3:// location; or endpoint_url of a store not Amazon's"),
    *_S3_KEYS,
)
_S3_REMOTES = (
    (
        "endpoint_url = https://minio.example",
        "the only store that remotes in S3 may name; without, and without region, the repository's "
        "configuration tells",
    ),
    *_S3_KEYS,
)
_S3_BLOCKS = (
    (
        "region = eu-central-1",
        "of the bucket, where the server keeps its data in S3; or endpoint_url of a store not "
        "Amazon's",
    ),
    *_S3_KEYS,
)

KINDS: dict[str, Kind] = {
    "delta": Kind(
        "a Delta Lake table, on a disk or in S3",
        ("/data/lake/customers", "s3://lake/shop/customers"),
        (*_S3, _HISTORY, _INDEX, *_ENGINE, _GRACE, _UNRELATED),
    ),
    "iceberg": Kind(
        "an Apache Iceberg table, by its catalog; its files on a disk or in S3",
        (
            "sqlite:////data/catalog.db#shop.orders",
            "postgresql://host:5432/catalog#shop.orders",
            "https://host/iceberg#shop.orders",
        ),
        (
            ("token_env = LAKE_TOKEN", "the variable that holds a REST catalog's token"),
            ("warehouse = lake", "that a REST catalog is asked for"),
            ("catalog = default", "its name, where a database holds several"),
            _SIGN_IN,
            *_S3,
            _SNAPSHOTS,
            _INDEX,
            *_ENGINE,
            _GRACE,
            _UNRELATED,
        ),
    ),
    "dvc": Kind(
        "a git repository with data in DVC",
        ("/data/repositories/churn", "/data/repositories/churn#data/orders.csv"),
        (
            ("exclusive = [origin]", "remotes that no other repository uses"),
            ("retired_remotes = [old]", "remotes of earlier commits that are gone"),
            _INDEX,
            *_S3_REMOTES,
            *_COMMITS,
            *_DIALECT,
            _UNRELATED,
        ),
        branches=True,
    ),
    "lakefs": Kind(
        "a repository of a lakeFS server",
        ("https://host#shop", "https://host:8443#shop/exports/"),
        (
            (
                "user = AKIAIOSFODNN7EXAMPLE",
                "the access key, and password_env = LAKEFS_PASSWORD, the variable that holds its "
                "secret, or password_file; the same with writer_ and verifier_ before them",
            ),
            ("block_folder = /data/lakefs", "the server's blockstore.local.path, as seen here"),
            _INDEX,
            *_S3_BLOCKS,
            *_DIALECT,
            _UNRELATED,
        ),
        branches=True,
    ),
    "files": Kind(
        "a folder of Parquet, CSV and JSON Lines files, plain or packed with gzip, on a disk or in "
        "S3",
        ("/data/exports", "s3://lake/exports"),
        (*_S3, *_DIALECT, *_ENGINE, _UNRELATED),
    ),
    "sql": Kind(
        "a table of a database, its address without a password",
        ("sqlite:////data/shop.db#customers", "postgresql://host:5432/shop#public.customers"),
        (
            _SIGN_IN,
            ("child_tables = [orders, addresses]", "tables whose rows go with the person's"),
        ),
    ),
}


def kinds_told() -> str:
    return " ".join(f'"{name}": {kind.what}.' for name, kind in KINDS.items())


def locations_told() -> str:
    return " ".join(f'"{name}": {" or ".join(kind.locations)}.' for name, kind in KINDS.items())


def options_told() -> str:
    return " ".join(
        f'"{name}": {", ".join(option.partition(" ")[0] for option, _ in kind.options)}.'
        for name, kind in KINDS.items()
    )
