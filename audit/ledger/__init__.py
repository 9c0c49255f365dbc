"""The pure core of the log: no Django, no database, no clock.

Modules, from the bottom up: canonical (RFC 8785), hashing and tree (RFC 6962), leaf, tiles
(C2SP tlog-tiles), checkpoint (C2SP tlog-checkpoint), chain, bundle, verify.
The formats are described for outsiders in docs/ledger.md.
"""
