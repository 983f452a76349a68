// SPDX-License-Identifier: MIT
// hapi: files, an echo.
const fs = require("fs");
const hapi = require("@hapi/hapi");

const server = hapi.server({ host: "127.0.0.1", port: process.env.PORT });
server.route({ method: "POST", path: "/echo", options: { payload: { parse: false } }, handler: (request) => request.payload });
server.route({
  method: "GET",
  path: "/{path*}",
  handler: (request, answer) => {
    const file = process.env.ROOT + request.path;
    return fs.existsSync(file) ? fs.readFileSync(file) : answer.response("none\n").code(404);
  },
});
server.start();
