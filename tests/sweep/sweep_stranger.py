"""Another user of the machine, who asks a Dask cluster who it is: ADDRESS CERTIFICATES.

`own` certificates are the stranger's. Run by root it becomes the user `nobody`, else it is the same
user without the cluster's certificates. It ends with 0 after an answer, with 9 after a refusal.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys

NOBODY, REFUSED = 65534, 9


def asked_by_a_stranger(address: str, certificates: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, __file__, address, certificates],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def main(address: str, certificates: str) -> int:
    from distributed import Security
    from distributed.comm import CommClosedError
    from distributed.core import rpc

    security = Security.temporary() if certificates == "own" else Security()
    arguments = security.get_connection_args("client")

    async def ask(whom: str, seconds: int) -> None:
        async with rpc(whom, connection_args=arguments, timeout=seconds) as scheduler:
            print(os.geteuid(), await scheduler.identity())

    # what is imported on the way is, while the owner's files can be read
    with contextlib.suppress(OSError, CommClosedError):
        asyncio.run(ask(address.rpartition(":")[0] + ":9", 1))
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    try:
        asyncio.run(asyncio.wait_for(ask(address, 60), 120))
    except (TimeoutError, OSError, CommClosedError) as error:
        print(os.geteuid(), repr(error))
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
