# SPDX-License-Identifier: MIT
# A Rack application: Rack's static files, an echo, and content of unknown length.
files = Rack::Files.new(ENV.fetch("ROOT"))
run lambda { |env|
  case env["PATH_INFO"]
  when "/echo"
    body = env["rack.input"].read
    [200, { "Content-Type" => "application/octet-stream", "Content-Length" => body.bytesize.to_s }, [body]]
  when "/stream"
    [200, { "Content-Type" => "text/plain" }, (0..2).lazy.map { |number| "part #{number}\n" }]
  else
    files.call(env)
  end
}
