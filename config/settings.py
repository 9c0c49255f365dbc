"""Settings of every mode (embedded, server, scaled): read from the environment, once."""

import hashlib
import os
import secrets
import sys
import tempfile
from pathlib import Path
from typing import Any

import environ
from celery.schedules import crontab
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured

env = environ.Env()
BASE_DIR = Path(__file__).resolve().parent.parent
TESTING = "pytest" in sys.modules

# Where this installation keeps what is its own: database, keys, broker, documents, mail.
_home = tempfile.mkdtemp(prefix="vestige-test-") if TESTING else str(BASE_DIR / "var")
VESTIGE_HOME = Path(env.str("VESTIGE_HOME", default=_home)).resolve()
VESTIGE_KEYS = VESTIGE_HOME / "keys"
VESTIGE_DOCUMENTS = VESTIGE_HOME / "documents"
VESTIGE_MAIL = VESTIGE_HOME / "mail"
VESTIGE_INDEX = VESTIGE_HOME / "index"
for folder in (
    VESTIGE_HOME,
    VESTIGE_KEYS,
    VESTIGE_DOCUMENTS,
    VESTIGE_MAIL,
    VESTIGE_INDEX,
    VESTIGE_HOME / "static",
):
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)

VESTIGE_VERSION = "0.1"
PORT = env.int("PORT", default=8000)
VESTIGE_PUBLIC_URL = env.str("VESTIGE_PUBLIC_URL", default=f"http://127.0.0.1:{PORT}").rstrip("/")
VESTIGE_ORIGIN = env.str("VESTIGE_ORIGIN", default="vestige.local/log")
VESTIGE_PUBLIC_TILES = env.bool("VESTIGE_PUBLIC_TILES", default=True)
VESTIGE_SAMPLE = env.bool("VESTIGE_SAMPLE", default=True)
VESTIGE_ADMIN_TOKEN = env.str("VESTIGE_ADMIN_TOKEN", default="")
VESTIGE_ORGANISATION = env.str(
    "VESTIGE_ORGANISATION", default="Northgate Records" if VESTIGE_SAMPLE else "Your organisation"
)
_mail_domain = "northgate.example" if VESTIGE_SAMPLE else "localhost"
VESTIGE_DPO_CONTACT = env.str("VESTIGE_DPO_CONTACT", default=f"dpo@{_mail_domain}")
VESTIGE_HOLIDAYS = env.str("VESTIGE_HOLIDAYS", default="DE")  # country of the working-day calendar
# Who holds checkpoints outside: witnesses (C2SP tlog-policy, text or file), an RFC 3161 authority.
VESTIGE_WITNESSES = env.str("VESTIGE_WITNESSES", default="")
VESTIGE_WITNESSES_FILE = env.str("VESTIGE_WITNESSES_FILE", default="")
VESTIGE_WITNESS_INTERVAL = env.int("VESTIGE_WITNESS_INTERVAL", default=60)  # seconds
VESTIGE_TSA_URL = env.str("VESTIGE_TSA_URL", default="")
VESTIGE_TSA_CERTIFICATE = env.str("VESTIGE_TSA_CERTIFICATE", default="")
VESTIGE_TSA_INTERVAL = env.int("VESTIGE_TSA_INTERVAL", default=3600)  # seconds
# Only stores on disk below these folders may be connected (`:` between them; empty: any).
VESTIGE_STORE_ROOTS = [Path(p).resolve() for p in env.list("VESTIGE_STORE_ROOTS", default=[])]
# Databases and S3 stores may be connected only if their hosts are named here ("db.example:5432").
VESTIGE_STORE_HOSTS = env.list("VESTIGE_STORE_HOSTS", default=[])
# Only these buckets, or prefixes in them ("lake/shop"), may be connected (empty: any).
VESTIGE_STORE_BUCKETS = env.list("VESTIGE_STORE_BUCKETS", default=[])
# Files with passwords of stores are read only below this folder.
VESTIGE_STORE_SECRETS = Path(env.str("VESTIGE_STORE_SECRETS", default="/run/secrets"))
VESTIGE_COOLING_OFF_HOURS = env.int(
    "VESTIGE_COOLING_OFF_HOURS", default=0 if VESTIGE_SAMPLE else 24
)
# Where checkpoints and tiles are published: /a/folder or s3://bucket/prefix; empty: nowhere.
VESTIGE_PUBLISH = env.str("VESTIGE_PUBLISH", default="")
VESTIGE_PUBLISH_ENTRIES = env.bool("VESTIGE_PUBLISH_ENTRIES", default=False)
VESTIGE_PUBLISH_SECONDS = env.int("VESTIGE_PUBLISH_SECONDS", default=300)
VESTIGE_S3_ENDPOINT = env.str("VESTIGE_S3_ENDPOINT", default="")
VESTIGE_PUBLIC_TILES = env.bool("VESTIGE_PUBLIC_TILES", default=True)
VESTIGE_SCRUB_HOURS = env.int("VESTIGE_SCRUB_HOURS", default=24)  # 0: never by itself
# One event at the append door, and one whole body, in bytes.
VESTIGE_PRUNE = env.str("VESTIGE_PRUNE", default="plan")  # what the night does
if VESTIGE_PRUNE not in ("plan", "auto"):
    raise ImproperlyConfigured(f"VESTIGE_PRUNE is {VESTIGE_PRUNE!r}. Set it to plan or to auto.")
VESTIGE_HEADS_MINUTES = env.int("VESTIGE_HEADS_MINUTES", default=60)  # 0: only when asked for
VESTIGE_PARENT_SECONDS = env.int("VESTIGE_PARENT_SECONDS", default=60)
VESTIGE_MAX_EVENT_BYTES = 60_000
VESTIGE_MAX_BODY_BYTES = env.int("VESTIGE_MAX_BODY_BYTES", default=32 * 1024 * 1024)


def _own_secret(name: str) -> str:
    """A random secret of this installation, made once and kept in a file only we can read."""
    path = VESTIGE_KEYS / name
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(48))
    return path.read_text()


def _socket_path(home: Path) -> Path:
    """Where the private broker listens: a socket's path may not be longer than 107 bytes."""
    path = home / "redis.sock"
    if len(str(path)) < 100:
        return path
    short = hashlib.sha256(str(home).encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"vestige-{os.getuid()}-{short}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder / "redis.sock"


SECRET_KEY = env.str("SECRET_KEY", default="") or _own_secret("django.secret")
DEBUG = env.bool("DEBUG", default=False)
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["127.0.0.1", "localhost", "[::1]", "testserver"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[VESTIGE_PUBLIC_URL])

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django_htmx",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "audit",
    "accounts",
    "connectors",
    "lineage",
    "compliance",
    "datasheets",
    "reports",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "accounts.middleware.ApiKeyMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]
# For requests to a machine's door that carry a key: see config.handlers.
KEYED_MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",
    "accounts.middleware.ApiKeyMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
APPEND_SLASH = False  # a redirect turns a client's POST into a GET: doors answer both spellings

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "audit.context.installation",
            ],
            "builtins": ["audit.templatetags.vestige"],
        },
    }
]


def _database(url: str, *pragmas: str) -> dict[str, Any]:
    database: dict[str, Any] = dict(env.db_url_config(url))
    if database["ENGINE"].endswith("sqlite3"):
        # FULL: an acknowledged event must survive a power cut, or the signed log would fork.
        pragmas = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", *pragmas)
        database["OPTIONS"] = {
            # DEFERRED transactions end in "database is locked" under two writers.
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "; ".join(f"PRAGMA {pragma}" for pragma in pragmas),
        }
    elif database["ENGINE"].endswith("postgresql"):
        database["ENGINE"] = "audit.backend"
        database["CONN_MAX_AGE"] = None  # a connection a request costs ten times the request
        database["CONN_HEALTH_CHECKS"] = True
    else:
        scheme = url.partition(":")[0]
        raise ImproperlyConfigured(
            f"Vestige keeps no data in a database {scheme}://. Set DATABASE_URL (and"
            " VESTIGE_KEYS_DATABASE_URL) to postgres://… or sqlite:///…."
        )
    return database


DATABASE_URL = env.str("DATABASE_URL", default=f"sqlite:///{VESTIGE_HOME / 'vestige.sqlite3'}")
# The subjects' keys have a store of their own, with a backup rule of its own.
# The log's own statements on PostgreSQL (audit.postgresql); Django's cursors never prepare theirs.
VESTIGE_PREPARE_STATEMENTS = env.bool("VESTIGE_PREPARE_STATEMENTS", default=True)
VESTIGE_KEYS_DATABASE_URL = env.str("VESTIGE_KEYS_DATABASE_URL", default="") or (
    f"sqlite:///{VESTIGE_KEYS / 'subjects.sqlite3'}"
    if DATABASE_URL.startswith("sqlite")
    else DATABASE_URL
)
VESTIGE_KEYS_APART = VESTIGE_KEYS_DATABASE_URL != DATABASE_URL
DATABASES = {
    "default": _database(DATABASE_URL),
    # secure_delete: a destroyed key is overwritten in its page, not only unlinked from it.
    "keys": _database(VESTIGE_KEYS_DATABASE_URL, "secure_delete=ON"),
}
DATABASE_ROUTERS = ["audit.routing.KeyStoreRouter"]
# The keys that wrap them are files, and may lie in another place.
VESTIGE_EPOCH_KEYS_DIR = Path(
    env.str("VESTIGE_EPOCH_KEYS_DIR", default="") or VESTIGE_KEYS / "epochs"
).resolve()
VESTIGE_EPOCH_DAYS = env.int("VESTIGE_EPOCH_DAYS", default=30)  # 0: rotate by hand only
VESTIGE_EPOCH_GRACE_HOURS = env.int("VESTIGE_EPOCH_GRACE_HOURS", default=48)
VESTIGE_SIGNING_OVERLAP_DAYS = env.int("VESTIGE_SIGNING_OVERLAP_DAYS", default=30)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["accounts.auth.RoleBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 12},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
if TESTING:
    PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
LOGIN_URL = "accounts:sign_in"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "accounts:sign_in"

LANGUAGE_CODE = "en-gb"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = True

STATIC_URL = "/static/"
STATIC_ROOT = VESTIGE_HOME / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = DEBUG

# Mail: SMTP by EMAIL_URL; without one, the sample company's mail goes to a mailbox on disk.
EMAIL_URL = env.str("EMAIL_URL", default="")
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default=f"privacy@{_mail_domain}")
EMAIL_TIMEOUT = 20
if EMAIL_URL:
    _email = env.email_url_config(EMAIL_URL)
    EMAIL_BACKEND = _email.pop("EMAIL_BACKEND")
    locals().update(_email)
else:
    EMAIL_BACKEND = "accounts.mailbox.MailboxBackend"

SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_NAME = f"vestige_session_{PORT}"  # two instances on one host keep apart
CSRF_COOKIE_NAME = f"vestige_csrf_{PORT}"
if VESTIGE_PUBLIC_URL.startswith("https://"):
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
CONTENT_SECURITY_POLICY = {
    "EXCLUDE_URL_PREFIXES": ["/api/docs"],  # the vendored Swagger page starts by an inline script
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
        "base-uri": [NONE],
    },
}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "accounts.auth.KeyAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["audit.doors.HasPermission"],
    "DEFAULT_PAGINATION_CLASS": "audit.pagination.CursorPages",
    "PAGE_SIZE": 100,
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "audit.problems.exception_handler",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
    "COERCE_DECIMAL_TO_STRING": True,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Vestige",
    "DESCRIPTION": "Finds a person in the data that models learn from, erases, and proves it.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "ENUM_NAME_OVERRIDES": {
        "RequestState": "compliance.states.State",
        "NoticeState": "compliance.states.NoticeState",
        "DocumentState": "reports.models.Document.State",
        "DatasetKind": "lineage.models.Dataset.Kind",
        "ReportKind": "reports.models.Report.Kind",
        "GateVerdict": ["pass", "review", "fail"],
    },
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "config.openapi.add_plain_doors",
    ],
}

# Rows are the queue (house rule 6): the broker only carries wake-ups, and may lose them.
REDIS_SOCKET = _socket_path(VESTIGE_HOME)
REDIS_URL = env.str("REDIS_URL", default=f"redis+socket://{REDIS_SOCKET}")
CELERY_BROKER_URL = REDIS_URL
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "socket_timeout": 5,
    "socket_connect_timeout": 2,
    "max_retries": 1,
    "visibility_timeout": 300,
}
CELERY_TASK_PUBLISH_RETRY = False
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULE_FILENAME = str(VESTIGE_HOME / "beat")
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
# task → seconds between sweeps
_SWEEPS = {
    "audit.tasks.sequence_pending": 2,
    "audit.tasks.check_new_entries": 60,
    "audit.tasks.anchor_checkpoints": 15,
    "audit.tasks.keep_keys": 30,
    "audit.tasks.rotate_due_keys": 3600,
    "audit.tasks.continue_pruning": 3,
    "audit.tasks.publish_checkpoints": 15,
    "audit.tasks.run_due_verifications": 3,
    "audit.tasks.scrub_log": 60,
    "compliance.tasks.announce_failed_verifications": 10,
    "compliance.tasks.send_due_mail": 2,
    "compliance.tasks.advance_due_requests": 2,
    "compliance.tasks.issue_due_notices": 3,
    "compliance.tasks.ask_about_due_tails": 60,
    "datasheets.tasks.measure_due_profiles": 5,
    "lineage.tasks.build_due_indexes": 3,
    "reports.tasks.render_due_documents": 2,
}
if VESTIGE_HEADS_MINUTES > 0:
    _SWEEPS["audit.tasks.record_heads_of_log"] = 60 * VESTIGE_HEADS_MINUTES
if VESTIGE_PARENT_SECONDS > 0:
    _SWEEPS["audit.tasks.record_checkpoints_of_logs"] = VESTIGE_PARENT_SECONDS
CELERY_BEAT_SCHEDULE: dict[str, dict[str, Any]] = {
    # A wake-up that waited longer than the next one is worth nothing.
    task: {"task": task, "schedule": seconds, "options": {"expires": 5 * seconds}}
    for task, seconds in _SWEEPS.items()
}
CELERY_BEAT_SCHEDULE["audit.tasks.plan_nightly"] = {
    "task": "audit.tasks.plan_nightly",
    "schedule": crontab(hour=2, minute=20),
    "options": {"expires": 3600},
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name} {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": env.str("LOG_LEVEL", default="WARNING")},
    # Django warns of every 4xx answer; those are the client's business and would fill the log.
    "loggers": {"django.request": {"level": "ERROR"}},
}
