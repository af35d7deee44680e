"""The operator: an `Agent` in, its children and its status out.

What happens in the cluster comes in:

    app         the parts put together: the Lease (leader), health, metrics, what the administrator can turn (settings)
    handlers    Agents, by way of Kopf; session mends the failures of the API server that would end it
    inventory   everything else: lists, and from them on a watch for each kind
    intake      events and lists -> the memory and the queue; graves and scopes keep the lists honest
    memory      what is known of each Agent between two looks
    queue       which Agent is due, when, and how often it has failed

One look at one Agent:

    reconcile   read, decide, apply, tell: the imperative shell
    desired/    Agent -> children, pure, one file per kind
    children    those children applied and pruned, by way of writing; scaling, pods, teams and upgrade are other things done there
    refusals    what it means when the API server says no
    drift       how soon what somebody else changed is repaired, and what is told of it, pure
    observe     what lives -> conditions, pure; status and events tell them

And what both use:

    cluster     the only module that speaks to the API server
    facts       live objects -> the few facts worth keeping, pure
    ownership   live object -> the part that we own, pure: how drift is seen
    dapr        whether Dapr is there, and which Components

Level-triggered: an event only says *look again*. Nothing is kept on the Agent but its status: no annotation, no finalizer.
"""
