"""A model that follows a script: the OpenAI chat-completions API, without a key, without a network, the same every time.

    python -m holdfast_agent.scripted script.yaml --port 8080 --ledger ledger.jsonl

What is answered is decided from the request alone: the last user message picks a rule, and the number of assistant messages after it
picks the turn. So the server may be restarted, and runs may interleave, without a run noticing.

    rules:                                  # the first that matches the task answers it
    - task: (?i)zagreb                      # a regular expression; left out: every task
      turns:
      - toolCalls:
        - {name: search_flights, arguments: {destination: Zagreb}}
      - latency: 2s                         # before the answer
        faults:                             # of the first attempts of the same request, in order
        - {status: 429, retryAfter: 1, times: 2}
        - {hang: 30s}                       # then the connection is closed without an answer
        - {garbage: true}                   # 200, but no JSON
        answer: Flight OU 651 it is.
    tools:                                  # also here, at /tools/<name>: a slow world for the agent to act on
      hold_seat: {latency: 10s, result: {held: true}}

Everything that is asked is in a ledger: one line for each request before it is worked on and one before it is answered, on the disk
before the answer leaves. `GET /ledger` shows the calls and sums up what was asked again after it had been answered. A tool that is
asked again with the same `Idempotency-Key` joins or repeats the first call's result, as a good server does.

    script        what a script may say
    conversation  from a request to a rule, a turn and an answer (pure)
    ledger        the record of what was asked
    server        HTTP
    command       the command line
"""
