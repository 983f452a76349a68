// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Schedulers: which real server gets a request.
