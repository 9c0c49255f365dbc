"""What accounts write into the log. Names and addresses of people stay out of it."""

from audit.events import define

USER_CREATED = define("user.created", "kind", "roles")
USER_DISABLED = define("user.disabled")
USER_SIGNED_IN = define("user.signed_in")
KEY_CREATED = define("key.created", "key", "roles", "expires_at", "log")
KEY_REVOKED = define("key.revoked", "key")
