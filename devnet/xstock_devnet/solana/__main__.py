"""Run a local Solana: `python -m xstock_devnet.solana --port 8899 [--block-ms 400] …`."""

import argparse
import asyncio
import signal

from solders.keypair import Keypair

from xstock_devnet.engines.anvil import dev_private_key
from xstock_devnet.solana.chain import Chain, ChainSettings
from xstock_devnet.solana.server import SolanaService
from xstock_runtime.clock import SystemClock, SystemRandomness


async def serve(port: int, settings: ChainSettings, *, automine: bool) -> None:
    """Serve until SIGTERM or SIGINT; raises what stopped the making of blocks, if anything did."""
    clock = SystemClock()
    deployer = Keypair.from_seed(bytes.fromhex(dev_private_key(0).removeprefix("0x")))
    chain = Chain(clock, SystemRandomness(), settings, (deployer.pubkey(),))
    service = SolanaService(chain, clock, automine=automine)
    print(f"solana: listening on 127.0.0.1:{await service.start(port)}", flush=True)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    tasks = (asyncio.create_task(ended.wait()), asyncio.create_task(service.watch_blocks()))
    done, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    await service.stop()
    for task in done:
        task.result()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m xstock_devnet.solana", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--block-ms", type=int, default=400)
    parser.add_argument("--confirm-blocks", type=int, default=1)
    parser.add_argument("--final-blocks", type=int, default=32)
    parser.add_argument("--skip-every", type=int, default=0, help="skip each such slot; 0: none")
    parser.add_argument("--no-automine", action="store_true", help="blocks only by /devnet/mine")
    arguments = parser.parse_args()
    settings = ChainSettings(
        confirm_blocks=arguments.confirm_blocks,
        final_blocks=arguments.final_blocks,
        skip_every=arguments.skip_every,
        block_ms=arguments.block_ms,
    )
    asyncio.run(serve(arguments.port, settings, automine=not arguments.no_automine))


if __name__ == "__main__":
    main()
