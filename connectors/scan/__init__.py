"""The independent reading of every byte that is left after an erasure.

Plain Python that knows no table format's log and no index: it takes the files of a folder as they
are, decodes what it recognises by content, and counts a file it cannot read as a failure.
"""
