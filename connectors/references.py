"""Secrets of connections, by reference only: an environment variable or a file that holds one.

Options are kept in the database and shown to whoever may see a store, so no secret stands in them.
A role ("writer", "verifier") has options of its own with its name before them, else the reader's.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from connectors.adapters.base import OptionError

Role = Literal["reader", "writer", "verifier"]
ROLES: tuple[Role, ...] = ("reader", "writer", "verifier")
CREDENTIAL_OPTIONS = ("user", "password_env", "password_file")
HOW_TO_SIGN_IN = (
    "Passwords are given by reference: name the environment variable that holds it in the option "
    '"password_env", or its file in "password_file", and the user in "user".'
)


@dataclass(frozen=True)
class Credential:
    user: str = ""
    password: str = field(default="", repr=False)
    own: bool = False  # named for this role alone


def for_roles(*names: str) -> tuple[str, ...]:
    """The options' names for each role: user, writer_user, verifier_user."""
    return tuple(f"{_prefix(role)}{name}" for role in ROLES for name in names)


def _prefix(role: Role) -> str:
    return "" if role == "reader" else f"{role}_"


def prefix_for(options: Mapping[str, Any], role: Role, names: tuple[str, ...]) -> str:
    """What stands before the names of the options that hold for a role."""
    prefix = _prefix(role)
    return prefix if any(options.get(f"{prefix}{name}") for name in names) else ""


def credential(options: Mapping[str, Any], role: Role) -> Credential:
    """Who signs in for this role; a role that has no user of its own signs in as the reader.

    Raises OptionError, which never holds a secret.
    """
    prefix = prefix_for(options, role, CREDENTIAL_OPTIONS)
    user = options.get(f"{prefix}user", "")
    if not isinstance(user, str):
        raise OptionError(f'The option "{prefix}user" is a name.')
    password = secret(options, f"{prefix}password", example="SHOP_DB_PASSWORD")
    return Credential(user, password, own=bool(prefix))


def secret(options: Mapping[str, Any], name: str, *, example: str, ending: str = "") -> str:
    """The secret that the options NAME_env or NAME_file refer to; "" when there is neither.

    The variable's name has the `ending`, else the example's last word, so that no other secret of
    this process can be sent anywhere. Raises OptionError, which never holds a secret.
    """
    variable, file = options.get(f"{name}_env"), options.get(f"{name}_file")
    if variable:
        ending = ending or example.rpartition("_")[2]
        wanted = re.compile(rf"(?!VESTIGE_)[A-Z_][A-Z0-9_]*{ending}", re.IGNORECASE)
        if not isinstance(variable, str) or not wanted.fullmatch(variable):
            raise OptionError(
                f'The option "{name}_env" is the name of an environment variable that '
                f"ends with {ending} and does not begin with VESTIGE_, as {example} does."
            )
        if variable not in os.environ:
            raise OptionError(
                f'The environment variable {variable}, which "{name}_env" names, is not '
                "set for this process. Set it for the web server and the workers."
            )
        return os.environ[variable]
    if file:
        try:
            return Path(str(file)).read_text().rstrip("\r\n")
        except (OSError, ValueError) as exc:
            raise OptionError(
                f'The file that "{name}_file" names cannot be read ({type(exc).__name__}).'
            ) from None
    return ""
