"""A MySQL or MariaDB database: every readable row. Bytes on disk are not read."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import pymysql
from sqlalchemy.exc import OperationalError

from connectors.adapters.sqltables.address import Address
from connectors.adapters.sqltables.engine import CONNECT_SECONDS, fault
from connectors.adapters.sqltables.purge import MYSQL_TAILS
from connectors.adapters.sqltables.verify import SHORT, Reading
from connectors.references import Credential


def read_mysql(
    address: Address, who: Credential, reading: Reading, left_out: Sequence[str]
) -> None:
    """Raises StoreError when the verifier cannot sign in."""
    arguments: dict[str, Any] = {"unix_socket": address.socket} if address.socket else {}
    if address.host:
        arguments = {"host": address.host, "port": address.port}
    if address.tls:
        arguments["ssl"] = {"check_hostname": address.tls == "verify-full"}
    try:
        connection = pymysql.connect(
            user=who.user or None,
            password=who.password,
            database=address.database,
            charset="utf8mb4",
            connect_timeout=CONNECT_SECONDS,
            cursorclass=pymysql.cursors.SSCursor,
            **arguments,
        )
        with connection:
            with connection.cursor() as cursor:
                cursor.execute("SHOW FULL TABLES WHERE Table_type = 'BASE TABLE'")
                tables = [row[0] for row in cursor.fetchall() if row[0] not in left_out]
            for number, name in enumerate(tables):
                reading.progress("scan", number, len(tables), reading.bytes)
                reading.attempt(name, partial(_rows, connection, name, reading))
    except pymysql.Error as exc:
        raise fault(OperationalError("", {}, exc), address) from None
    reading.method += [
        f"every row of {len(tables)} tables read through PyMySQL",
        *([f"left out by the options: {', '.join(left_out)}"] if left_out else []),
        "the bytes on disk were not read",
        f"not reached: {', '.join(MYSQL_TAILS)}",
        SHORT,
    ]


def _rows(connection: Any, name: str, reading: Reading) -> None:
    quoted = name.replace("`", "``")
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM `{quoted}`")  # noqa: S608 (a name cannot be bound)

        def rows() -> Iterator[Sequence[Any]]:
            yield from cursor

        reading.rows(name, [described[0] for described in cursor.description], rows())
