// SPDX-License-Identifier: GPL-2.0 OR MIT
//! SipHash, the keyed hash of Aumasson and Bernstein (2012).
