# SPDX-License-Identifier: MIT
# R's httpuv: its static files, an echo.
library(httpuv)

root <- Sys.getenv("ROOT")
app <- list(
  call = function(request) {
    if (request$PATH_INFO == "/echo") {
      list(status = 200L, headers = list("Content-Type" = "text/plain"), body = request$rook.input$read())
    } else {
      list(status = 404L, headers = list("Content-Type" = "text/plain"), body = "none\n")
    }
  },
  staticPaths = list("/" = staticPath(root, fallthrough = TRUE))
)
runServer("127.0.0.1", as.integer(Sys.getenv("PORT")), app)
