#!/bin/sh
# SPDX-License-Identifier: MIT
# A CGI script as most are written: the lines of its head end in LF alone.
printf 'Content-Type: text/plain\nX-Script: lines\n\n'
printf 'from a script\n'
