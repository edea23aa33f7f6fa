"""The source over a real socket, where connections really break."""

import json
from contextlib import aclosing

from forwarder.errors import TransientError
from forwarder.model import Checkpoint
from forwarder.simulator import Simulator, SimulatorOptions, mix, serve
from forwarder.sources.bitbucket_audit import BitbucketAuditConfig


async def test_a_server_that_breaks_every_fifth_answer_is_read_to_the_end() -> None:
    simulator = Simulator(
        SimulatorOptions(history=800, context="/bitbucket", fault_rates=mix(0.2), slow_seconds=0.01)
    )
    stored: dict[str, bytes] = {}
    checkpoint: Checkpoint | None = None
    failures = 0
    async with serve(simulator) as url:
        config = BitbucketAuditConfig.model_validate(
            {
                "type": "bitbucket_audit",
                "url": url,
                "token": simulator.options.token,
                "start_at": "beginning",
                "page_size": 20,
            }
        )
        async with config.open(name="bitbucket") as source:
            while failures < 500:
                try:
                    async with aclosing(source.poll(checkpoint)) as pages:
                        async for page in pages:
                            stored |= {one.event_id: bytes(one.original) for one in page.records}
                            checkpoint = page.checkpoint
                    break
                except TransientError:
                    failures += 1
    truth = simulator.truth_bytes(categories=config.categories)
    assert failures
    assert sorted(map(json.dumps, map(json.loads, stored.values()))) == sorted(
        map(json.dumps, map(json.loads, truth))
    )
