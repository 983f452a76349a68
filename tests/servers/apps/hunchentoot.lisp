; SPDX-License-Identifier: MIT
; Hunchentoot: its files, an echo.
(require "asdf")
(asdf:load-system "hunchentoot")
(hunchentoot:define-easy-handler (echo :uri "/echo") ()
  (setf (hunchentoot:content-type*) "application/octet-stream")
  (or (hunchentoot:raw-post-data :force-binary t) ""))
(hunchentoot:start
 (make-instance 'hunchentoot:easy-acceptor
                :address "127.0.0.1" :port (parse-integer (uiop:getenv "PORT"))
                :document-root (uiop:ensure-directory-pathname (uiop:getenv "ROOT"))))
(loop (sleep 3600))
