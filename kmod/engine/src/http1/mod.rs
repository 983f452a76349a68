// SPDX-License-Identifier: GPL-2.0 OR MIT
//! HTTP/1 messages: heads and their framing (RFC 9112).
