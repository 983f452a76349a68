// SPDX-License-Identifier: MIT
// Express: its static files, an echo.
const express = require("express");

const app = express();
app.post("/echo", express.raw({ type: () => true, limit: "10mb" }), (request, response) => response.send(request.body));
app.get("/stream", (request, response) => {
  for (let number = 0; number < 3; number++) response.write(`part ${number}\n`);
  response.end();
});
app.use(express.static(process.env.ROOT));
app.listen(process.env.PORT, "127.0.0.1");
