"""What proves afterwards that nobody changed what a run did.

    chain       one hash over every record of a run, link by link, and the anchor that ends it
    records     what happened in a run, without a word of what was said
    sheets      a run's documents as names and digests
    verify      a run's documents against its anchor: what was edited, removed, added or moved
    export      the documents of a run, out of the store
    lines       the same as lines of text, and back
    command     `python -m holdfast_agent verify`

The workflow carries the chain on from recorded results (`link`), each turn of the model stores what it was before it, and whoever ends a
run puts the anchor into its head (`Auditor.sealed`).
"""

from holdfast_agent.audit.chain import Auditor, Chain, fingerprint, genesis, link

__all__ = ["Auditor", "Chain", "fingerprint", "genesis", "link"]
