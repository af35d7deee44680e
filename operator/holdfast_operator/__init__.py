"""The operator: an `Agent` in, its children and its status out.

    __main__    settings, logging, health, leader election, Kopf
    settings    what the administrator can turn
    session     what Kopf watches through: failures of the API server are mended there
    handlers    Kopf's events -> the memory and the queue, nothing else
    queue       which Agent is due, when, and how often it has failed
    reconcile   one Agent made as it should be: the imperative shell
    desired/    Agent -> children, pure, one file per kind
    observe     what lives -> conditions, pure
    facts       live objects -> the few facts worth keeping, pure
    ownership   live object -> the part that we own, pure: how drift is seen
    drift       how soon what somebody else changed is repaired, and what is told of it, pure
    memory      those facts, per Agent
    references  ConfigMaps that Agents name, and who names them
    cluster     the only module that speaks to the API server

Level-triggered: an event only says *look again*. Nothing is kept on the Agent but its status: no annotation, no finalizer.
"""
