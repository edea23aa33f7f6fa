"""A quiet simulated Bitbucket as a process of its own, for the time from a row to its arrival."""

import anyio

from forwarder.simulator import Simulator, SimulatorOptions, serve


async def _serve() -> None:
    async with serve(Simulator(SimulatorOptions(token="bench"))) as url:
        print(url.rpartition(":")[2], flush=True)
        await anyio.sleep_forever()


if __name__ == "__main__":
    anyio.run(_serve)
