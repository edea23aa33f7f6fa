"""A Bitbucket Data Center with Soteri installed, that plays its part.

For the demo, for users' trials and for the tests. `Simulator` is the whole of it as one object,
`serve` puts it on a socket:

    simulator = Simulator(SimulatorOptions(history=1000, rate=2.0))
    async with serve(simulator) as url: ...

    clock.py log.py query.py    the audit log and what a search finds in it; pure
    node_files.py               the log files of each node, beside it
    catalogue.py events/ generator.py     who, what and when: seeded; pure
    options.py                  every switch
    faults.py access.py         what goes wrong, who may read; no I/O
    answers.py app.py           Bitbucket's answers and addresses
    faulty.py                   the server around them, which fails on request
    control.py                  addresses that are not Bitbucket's, for tests in another process
    serving.py                  the real socket
"""

from forwarder.simulator.clock import Clock, HandClock, SystemClock
from forwarder.simulator.faults import FAULTS, TRANSIENT, FaultName, fault_name, mix
from forwarder.simulator.generator import Mixture
from forwarder.simulator.options import SimulatorOptions
from forwarder.simulator.serving import serve
from forwarder.simulator.simulator import Simulator

__all__ = [
    "FAULTS",
    "TRANSIENT",
    "Clock",
    "FaultName",
    "HandClock",
    "Mixture",
    "Simulator",
    "SimulatorOptions",
    "SystemClock",
    "fault_name",
    "mix",
    "serve",
]
