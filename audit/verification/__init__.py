"""Checks the whole log as it is stored.

Shares nothing with the code that writes but the ledger core. Every entry's leaf is hashed and
must continue the chain (RFC 6962 tree, position, time), its columns must say what its leaf says,
and the tree must be the one that was signed, at every checkpoint that is kept.

    run         one pass over the entries, in order
    pair        the same by two processes, when all is well
    stored      plain SQL of its own
    columns     what the search columns must say
    signatures  the signed checkpoints
    tiles       the hash tiles
    pruned      the ranges that are gone, and what the log says of them
    places      the count of each resource's entries
    heads       the heads that entries commit to
    sealed      the subjects' keys
    outcome     what was found
"""
