from django.urls import path

from bench.peers import views
from config.urls import urlpatterns as _ours

# First, so that looking up the address costs the peers nothing.
urlpatterns = [
    path("peer/orm", views.orm_event),
    path("peer/plain", views.plain_event),
    *_ours,
]
