// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Hosts and paths in the form in which they are compared (RFC 3986, 6.2.2; RFC 9110, 4.2.3).
