// SPDX-License-Identifier: MIT
// Node's http module: files, an echo, a stream.
const fs = require("fs");
const http = require("http");

http.createServer((request, response) => {
  if (request.url === "/echo") {
    request.pipe(response);
  } else if (request.url === "/stream") {
    for (let number = 0; number < 3; number++) response.write(`part ${number}\n`);
    response.end();
  } else {
    fs.readFile(process.env.ROOT + request.url, (error, data) => {
      response.writeHead(error ? 404 : 200, { "X-Two": ["1", "2"] });
      response.end(error ? "none\n" : data);
    });
  }
}).listen(process.env.PORT, process.env.HOST ?? "127.0.0.1");
