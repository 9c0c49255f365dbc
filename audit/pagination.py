"""Cursor pages: stable under inserts, and as fast on the last page as on the first."""

from typing import Any

from rest_framework.pagination import CursorPagination


class CursorPages(CursorPagination):
    page_size = 100
    max_page_size = 1000
    page_size_query_param = "limit"
    ordering: Any = "-pk"
