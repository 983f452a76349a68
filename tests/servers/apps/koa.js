// SPDX-License-Identifier: MIT
// Koa: files as streams, an echo.
const fs = require("fs");
const Koa = require("koa");

const app = new Koa();
app.use((context) => {
  const file = process.env.ROOT + context.path;
  if (context.path === "/echo") {
    context.body = context.req;
  } else if (fs.existsSync(file)) {
    context.type = "html";
    context.body = fs.createReadStream(file);
  }
});
app.listen(process.env.PORT, "127.0.0.1");
