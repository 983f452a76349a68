// SPDX-License-Identifier: MIT
// restify: its static files, an echo.
const restify = require("restify");

const server = restify.createServer();
server.post("/echo", (request, response, next) => {
  request.pipe(response);
  request.on("end", () => next());
});
server.get("/*", restify.plugins.serveStatic({ directory: process.env.ROOT }));
server.listen(process.env.PORT, "127.0.0.1");
