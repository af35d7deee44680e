"""`make demo`: an agent whose process is killed in the middle of its work, and the proof that nothing was lost or paid for twice.

proof     ledgers -> table and verdict (pure)
cluster   the demo in a kind cluster: the pod is deleted
local     the same with processes of this machine: everything is killed, and the same command typed again
"""
