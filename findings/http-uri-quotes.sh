#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The crate `http` (Uri, on which hyper, h2, tonic and reqwest stand) has two lists of characters for path and query that cross.
#
# Guess: what RFC 3986 has in neither list (quotation mark, backtick, braces, bar) is taken in both or refused in both.
# Seen with http 1.5.0: a quotation mark passes in a path and is an error in a query; a backtick is an error in a path and passes
# in a query; braces, bar and circumflex pass in both; angle brackets in neither. So a server on hyper cannot be sent `?q="x"`, as
# browsers' address bars, curl and scripts send it, while `/"x"` arrives: over HTTP/1 it is a 400, over HTTP/2 a reset stream.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir src
cat > Cargo.toml <<'T'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"
[dependencies]
http = "=1.5.0"
T
cat > src/main.rs <<'T'
fn main() {
    for mark in ["\"", "`", "{", "|", "^", "<"] {
        let takes = |text: String| text.parse::<http::Uri>().is_ok();
        println!("{mark} path {} query {}", takes(format!("/{mark}")), takes(format!("/?{mark}")));
    }
}
T
echo "http 1.5.0"
cargo run --quiet | tee output
diff output - <<'T'
" path true query false
` path false query true
{ path true query true
| path true query true
^ path true query true
< path false query false
T
