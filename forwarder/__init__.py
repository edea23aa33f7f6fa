"""Bitbucket's audit log, forwarded whole: the map of this tree.

    Bitbucket -> source -> normalizer -> outbox -> dispatcher -> format -> sink -> destination

Start at ``app/``: it starts the loops. ``pipeline/poller.py`` fills the outbox,
``pipeline/dispatcher.py`` empties it. They share nothing else.

    cli/          one verb, one file
    app/          composition root: builds every part, runs one task group, stops on a signal
    config/       file + environment + secret files -> frozen, typed
    pipeline/     the loops: poller, dispatcher, janitor
    watches/      what is wrong around the log, told in the stream of events itself
    correlations/ what several events mean together, told in the same way
    sources/      where records come from; one source, one file or folder
    normalizers/  record -> event; pure
    formats/      event -> bytes; pure
    sinks/        where events go; one sink, one file
    store/        the outbox on SQL
    redaction/    what no event may tell: credentials, and what users name; pure
    server/       /livez /readyz /metrics /api/status and the status page
    simulator/    a Bitbucket that plays its part
    provision/    what alerts people, made at Splunk and CloudWatch: a plan, then what differs
    detections/   what somebody should be told of, as searches for SIEMs
    health.py     is the daemon well? asked from beside it
    explanation.py the way of one event, to each sink; reconciliation.py: what is missing where
    comparison.py what one side holds, against what it should
    event_ids.py  ids found again in what a destination holds
    selection.py  which events are wanted, by readers and by each sink
    chain.py      what makes it show when a stored event is changed, moved, doubled or taken away
    http.py       client factory; one map from an HTTP outcome to our errors
    network.py    what it means that an address cannot be reached
    secret.py     a credential, by value or in a file
    systemd.py    what the service manager is told
    telemetry.py  every metric
    logs.py       logging set-up
    tracing.py    spans, if anybody takes them; otlp.py: OpenTelemetry, which does
    options.py    the fields that every source and every sink has
    interfaces.py the contracts, in prose
    model.py      the values that travel
    retry.py      how long to wait: arithmetic only
    span.py       how long something takes and how many there are, in words; times.py: when
    remembered.py what was made of short texts
    concealed.py  what no text of others may show: our credentials
    errors.py     errors, named by what the daemon does next
"""

__version__ = "0.1.0"
