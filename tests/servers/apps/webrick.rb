# SPDX-License-Identifier: MIT
# WEBrick with its file handler, and an echo.
require "webrick"

server = WEBrick::HTTPServer.new(BindAddress: "127.0.0.1", Port: ENV.fetch("PORT").to_i, DocumentRoot: ENV.fetch("ROOT"))
server.mount_proc("/echo") { |request, response| response.body = request.body.to_s }
server.mount_proc("/stream") do |_, response|
  response.chunked = true
  response.body = proc { |out| 3.times { |number| out.write("part #{number}\n") } }
end
trap("TERM") { server.shutdown }
server.start
