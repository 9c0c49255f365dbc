"""Django's database backend for PostgreSQL, with statements that go out together with COMMIT."""
