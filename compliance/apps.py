from django.apps import AppConfig


class ComplianceConfig(AppConfig):
    name = "compliance"

    def ready(self) -> None:
        from audit.retention import hold_open
        from compliance.queries import resources_of_open_cases

        hold_open("open requests", resources_of_open_cases)
