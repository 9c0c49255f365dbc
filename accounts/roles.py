"""Who may do what: the one table of roles and permissions."""

from django.db.models import TextChoices


class Role(TextChoices):
    PIPELINE = "pipeline", "Pipeline"
    ANALYST = "analyst", "Privacy analyst"
    DPO = "dpo", "Data protection officer"
    DATA_OWNER = "data_owner", "Data owner"
    MODEL_OWNER = "model_owner", "Model owner"
    AUDITOR = "auditor", "Auditor"
    ADMIN = "admin", "Administrator"


_P, _N, _D, _O, _M, _A, _X = (
    Role.PIPELINE,
    Role.ANALYST,
    Role.DPO,
    Role.DATA_OWNER,
    Role.MODEL_OWNER,
    Role.AUDITOR,
    Role.ADMIN,
)

# Read a row as "X may be done by …". Four-eyes rules (who may approve which plan) are the guards
# of compliance, not permissions: they depend on the case.
_GRANTED_TO: dict[str, frozenset[Role]] = {
    "log.append": frozenset({_P}),
    "log.read": frozenset({_A, _D, _N, _X}),
    "log.verify": frozenset({_A, _D, _X}),
    "log.create": frozenset({_X}),
    "retention.read": frozenset({_A, _D, _N, _X}),
    "retention.manage": frozenset({_D, _X}),
    "retention.prune": frozenset({_D}),
    "lineage.read": frozenset(Role),
    "lineage.write": frozenset({_P}),
    "usage.write": frozenset({_P}),
    "subjects.read": frozenset({_N, _D}),
    "suppression.check": frozenset({_P, _N, _D}),
    "connectors.read": frozenset(Role),
    "connectors.manage": frozenset({_O, _X}),
    "connectors.sync": frozenset({_O, _X, _N, _P}),
    "requests.read": frozenset({_N, _D, _O, _A}),
    "requests.file": frozenset({_N, _D, _P}),
    "requests.triage": frozenset({_N}),
    "requests.plan": frozenset({_N}),
    "requests.execute": frozenset({_N}),
    "requests.approve": frozenset({_D, _O}),
    "requests.decide": frozenset({_D}),
    "notices.read": frozenset({_M, _D, _N, _A, _O}),
    "notices.answer": frozenset({_M}),
    "notices.decide": frozenset({_D}),
    "documents.read": frozenset(Role),
    "documents.edit": frozenset({_O, _M, _D}),
    "reports.create": frozenset({_A, _D, _N}),
    "gates.evaluate": frozenset({_P, _N, _D, _O, _A}),
    "accounts.manage": frozenset({_X}),
}
PERMISSIONS = frozenset(_GRANTED_TO)
# What a key that is bound to a log may do at most, whatever its roles.
WITHIN_A_LOG = frozenset({"log.append", "log.read", "log.verify"})


def permissions_of(roles: frozenset[str]) -> frozenset[str]:
    return frozenset(name for name, granted in _GRANTED_TO.items() if granted & roles)
