// SPDX-License-Identifier: MIT
// Hono on Node: files, an echo.
import fs from "fs";
import { createRequire } from "module";

const packages = createRequire(process.env.NODE + "/");
const { Hono } = packages("hono");
const { serve } = packages("@hono/node-server");

const app = new Hono();
app.post("/echo", async (context) => context.body(await context.req.arrayBuffer()));
app.get("/*", (context) => {
  const file = process.env.ROOT + context.req.path;
  return fs.existsSync(file) ? context.body(fs.readFileSync(file)) : context.notFound();
});
serve({ fetch: app.fetch, hostname: "127.0.0.1", port: Number(process.env.PORT) });
