"""An S3 server of ours that misbehaves on demand. Manual:

    with FaultyS3() as server:                                   # a thread of its own, everything in memory
        server.inject("GetObject", Reset(at=1000), key=r"model\\.bin$", nth=2, times=3)
        ...                                                      # RST after 1000 body bytes of the 2nd to 4th such GET
        assert server.requests["GetObject"] == 7

Without rules it is a strict S3: signatures, conditions, checksums, part sizes and pages are what Amazon's are, and the
remote conformance suite passes. A rule picks calls by operation (the names of S3's API, `*` for all), by a regular
expression searched in the key, by part number, by any predicate, by count (`nth` of those, then `times` of them), and
has one action. The first rule that fits acts; `server.unfired` names rules that never did, so that no test passes
because its fault did not happen.

`objects` holds what is stored, `operations` what each request does, `documents` the XML, `signature` SigV4, `policy`
who may do what, `rules` the choice, `actions` what can go wrong, `call` the values in between, `server` the sockets and
the counts.
"""
