# SPDX-License-Identifier: MIT
"""Sanic: its own static files, an echo, a stream."""

import os

from sanic import Sanic
from sanic.response import raw

app = Sanic("servers")
app.static("/", os.environ["ROOT"], name="files")


@app.post("/echo")
async def echo(request):
    """Gives back what was sent."""
    return raw(request.body)


@app.get("/stream")
async def stream(request):
    """Content of unknown length."""
    answer = await request.respond(content_type="text/plain")
    for number in range(3):
        await answer.send(f"part {number}\n")
    await answer.eof()


if __name__ == "__main__":
    app.run(host="127.0.0.1", port=int(os.environ["PORT"]), single_process=True)
