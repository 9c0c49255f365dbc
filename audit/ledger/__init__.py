"""The pure core of the log: no Django, no database, no clock.

Modules, from the bottom up: canonical (RFC 8785), hashing and tree (RFC 6962), leaf, tiles
(C2SP tlog-tiles), checkpoint (C2SP tlog-checkpoint), cosignature (C2SP tlog-cosignature), policy
(C2SP tlog-policy), chain, bundle, verify, witness (C2SP tlog-witness).
The formats are described for outsiders in docs/ledger.md.
"""
