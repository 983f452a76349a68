#!/bin/sh
# SPDX-License-Identifier: MIT
# A CGI script that gives back what was sent.
printf 'Content-Type: application/octet-stream\r\n\r\n'
[ "${CONTENT_LENGTH:-0}" -gt 0 ] && head -c "$CONTENT_LENGTH"
exit 0
