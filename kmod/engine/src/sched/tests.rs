// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What every scheduler promises, for all of them.
