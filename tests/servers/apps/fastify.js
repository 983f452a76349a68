// SPDX-License-Identifier: MIT
// Fastify: files as streams, an echo.
const fs = require("fs");
const fastify = require("fastify")();

fastify.addContentTypeParser("*", { parseAs: "buffer" }, (request, body, done) => done(null, body));
fastify.removeContentTypeParser("text/plain");
fastify.post("/echo", (request, reply) => reply.send(request.body));
fastify.get("/*", (request, reply) => {
  const file = process.env.ROOT + request.url;
  if (!fs.existsSync(file)) return reply.callNotFound();
  return reply.send(fs.createReadStream(file));
});
fastify.listen({ host: "127.0.0.1", port: Number(process.env.PORT) });
