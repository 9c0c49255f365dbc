"""Whether the triggers that guard the log are there, enabled, and do what they were made to do."""

import re

from django.db.backends.base.base import BaseDatabaseWrapper

from audit.append_only import statements

_TRIGGER = re.compile(r"CREATE TRIGGER (\w+) (.*?)(?=;|\Z)", re.DOTALL)
_FUNCTION = re.compile(
    r"CREATE OR REPLACE FUNCTION (\w+)\(\) RETURNS trigger LANGUAGE plpgsql\s+"
    r"(?:SET search_path = ([^$]*?) )?AS \$\$(.*?)\$\$",
    re.DOTALL,
)
_ADDED = re.compile(r"[\s()\"]|::(character varying|\w+)")  # by PostgreSQL, when it tells SQL back

_TRIGGERS = """
    SELECT t.tgname, pg_get_triggerdef(t.oid), quote_ident(n.nspname), p.proname, p.prosrc,
        coalesce(array_to_string(p.proconfig, ';'), '')
    FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid
    JOIN pg_namespace AS n ON n.oid = c.relnamespace JOIN pg_proc AS p ON p.oid = t.tgfoid
    WHERE t.tgenabled = 'A' AND n.nspname = current_schema() AND p.pronamespace = n.oid
"""


def failing_guards(connection: BaseDatabaseWrapper) -> list[str]:
    """The names of triggers that are missing, changed or (PostgreSQL) not always enabled."""
    if connection.vendor == "postgresql":
        wanted, found = _wanted(statements(connection)), _found(connection)
    else:
        wanted = {_TRIGGER.findall(text)[0][0]: text.strip() for text in statements(connection)}
        with connection.cursor() as cursor:
            cursor.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
            found = {name: text.strip() for name, text in cursor.fetchall()}
    return sorted(name for name, what in wanted.items() if found.get(name) != what)


def _wanted(texts: list[str]) -> dict[str, object]:
    """By name: the trigger's definition, and path and body of the function that it executes."""
    functions: dict[str, tuple[str, str]] = {}
    triggers: dict[str, str] = {}
    for text in texts:
        for name, path, body in _FUNCTION.findall(text):
            functions[name] = (_plain(f"search_path={path}") if path else "", body)
        triggers |= dict(_TRIGGER.findall(_FUNCTION.sub("", text)))
    return {
        name: (_plain(definition), *functions[definition.rpartition(" ")[2].rstrip("()")])
        for name, definition in triggers.items()
    }


def _found(connection: BaseDatabaseWrapper) -> dict[str, object]:
    with connection.cursor() as cursor:
        cursor.execute(_TRIGGERS)
        rows = cursor.fetchall()
    found: dict[str, object] = {}
    for name, definition, schema, function, body, options in rows:
        told = definition.partition(f" {name} ")[2].replace(f" ON {schema}.", " ON ")
        told = told.replace(f"FUNCTION {schema}.{function}", f"FUNCTION {function}")
        found[name] = (_plain(told), _plain(options), body)
    return found


def _plain(text: str) -> str:
    return _ADDED.sub("", text.lower())
