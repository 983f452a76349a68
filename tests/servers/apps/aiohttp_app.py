# SPDX-License-Identifier: MIT
"""aiohttp: its own static files, an echo, a stream."""

import os

from aiohttp import web


async def echo(request):
    """Gives back what was sent."""
    return web.Response(body=await request.read())


async def stream(request):
    """Content of unknown length."""
    answer = web.StreamResponse()
    await answer.prepare(request)
    for number in range(3):
        await answer.write(b"part %d\n" % number)
    return answer


app = web.Application()
app.router.add_post("/echo", echo)
app.router.add_get("/stream", stream)
app.router.add_static("/", os.environ["ROOT"])
web.run_app(app, host="127.0.0.1", port=int(os.environ["PORT"]))
