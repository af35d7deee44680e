"""What begins runs by itself: the clock, and events on topics.

schedule  what is known of a schedule's ticks, and what is to be done about them. Pure
ticker    does it: one process of all replicas decides about a tick, and any of them carries that out
event     what daprd delivers, read into a task and the id of its run. Pure
intake    begins the run, and tells daprd what became of the event
"""
