"""What was told of is fetched until it is here, errors or not, and no oftener than it should be."""

from __future__ import annotations

import asyncio

from edge.runtime.catching_up import CatchUp
from tests.support.mesh import until


def test_it_goes_on_until_all_is_here(caplog):
    outcomes = [RuntimeError("no way"), False, True, True]
    fetched: list[float] = []

    async def main():
        clock = asyncio.get_running_loop().time

        async def fetch() -> bool:
            fetched.append(clock())
            if len(fetched) == 2:
                catching_up.told()  # what it brings may be news of more
            outcome = outcomes.pop(0)
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        catching_up = CatchUp("things", fetch, 0.05)
        task = asyncio.create_task(catching_up.run())
        await asyncio.sleep(0)
        assert not fetched
        catching_up.told()
        await until(lambda: len(outcomes) == 1)
        await asyncio.sleep(0.12)
        assert outcomes == [True]  # there was nothing to do any more
        catching_up.told()
        await until(lambda: not outcomes)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())
    assert [later - before >= 0.049 for before, later in zip(fetched, fetched[1:3], strict=False)] == [True, True]
    assert "things can't be fetched" in caplog.text
