"""analytics rebuild: the counters behind every number of analytics, counted anew from the deliveries."""

import asyncio

from cyclopts import App

from nurture_local.terminal import Failure, Where, console

analytics = App(name="analytics", help="Look after the numbers.")


@analytics.command
def rebuild(*, data_dir: Where = None) -> int:
    """Count every number of analytics anew from the deliveries, in one transaction; services go on meanwhile.

    `verify analytics` says whether there is need. Prints how many counters were wrong.
    """
    from nurture_local import recount
    from nurture_local.commands import db
    from nurture_local.server import ServerRefused

    with db.database_of(data_dir) as target:
        try:
            done = asyncio.run(recount.rebuild(target.url))
        except (ServerRefused, LookupError) as error:
            raise Failure(str(error)) from None
    console.print(f"{done.counters:,} counters from {done.deliveries:,} deliveries; {done.wrong:,} were wrong")
    return 0
