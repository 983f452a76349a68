// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The TLS ClientHello, read for its server name and ALPN (RFC 8446, 4.1.2).
