# SPDX-License-Identifier: MIT
"""Tornado: its own static files, an echo, a stream."""

import asyncio
import os

from tornado import web


class Echo(web.RequestHandler):
    """Gives back what was sent."""

    def post(self):
        """One POST."""
        self.write(self.request.body)


class Stream(web.RequestHandler):
    """Content of unknown length."""

    async def get(self):
        """One GET."""
        for number in range(3):
            self.write(b"part %d\n" % number)
            await self.flush()


async def main():
    """Serves until the end."""
    files = (r"/(.*)", web.StaticFileHandler, {"path": os.environ["ROOT"]})
    web.Application([(r"/echo", Echo), (r"/stream", Stream), files]).listen(int(os.environ["PORT"]), "127.0.0.1")
    await asyncio.Event().wait()


asyncio.run(main())
