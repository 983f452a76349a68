// SPDX-License-Identifier: MIT
//! Where in a trace a request stands: `traceparent` of W3C Trace Context, level 2.

use std::fmt;

/// The flag that says that the trace is recorded.
const SAMPLED: u8 = 1;
/// Flags that are passed on: that one, and that the trace's identifier is random (4.2.2.5). Others have no meaning yet and are
/// cleared.
const KNOWN: u8 = 0b11;

/// A trace, and a span in it. Written as a `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    trace: u128,
    span: u64,
    flags: u8,
}

impl Context {
    /// A new trace.
    pub fn new(is_sampled: bool) -> Self {
        Self {
            trace: fastrand::u128(1..),
            span: fastrand::u64(1..),
            flags: u8::from(is_sampled),
        }
    }

    /// What a `traceparent` says (3.2). Of later versions, what version 00 has is read (4.3). `None`: it is none.
    pub fn read(value: &[u8]) -> Option<Self> {
        let value = std::str::from_utf8(value).ok()?;
        let mut parts = value.split('-');
        let (version, trace, span, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let is_hex = |part: &str, length| {
            part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        };
        let is_whole = is_hex(version, 2)
            && version != "ff"
            && (version != "00" || parts.next().is_none())
            && is_hex(trace, 32)
            && is_hex(span, 16)
            && is_hex(flags, 2);
        let read = Self {
            trace: u128::from_str_radix(trace, 16).ok()?,
            span: u64::from_str_radix(span, 16).ok()?,
            flags: u8::from_str_radix(flags, 16).ok()? & KNOWN,
        };
        (is_whole && read.trace != 0 && read.span != 0).then_some(read)
    }

    /// Another span of the same trace.
    #[must_use]
    pub fn child(self) -> Self {
        Self {
            span: fastrand::u64(1..),
            ..self
        }
    }

    /// The same, not recorded.
    #[must_use]
    pub const fn unsampled(self) -> Self {
        Self {
            flags: self.flags & !SAMPLED,
            ..self
        }
    }

    /// Whether the trace is recorded.
    pub const fn is_sampled(self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The trace.
    pub const fn trace(self) -> u128 {
        self.trace
    }

    /// The span.
    pub const fn span(self) -> u64 {
        self.span
    }
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trace, span, flags } = self;
        write!(f, "00-{trace:032x}-{span:016x}-{flags:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

    fn read(value: &str) -> Option<Context> {
        Context::read(value.as_bytes())
    }

    #[test]
    fn a_trace_goes_on_with_a_new_parent() {
        let told = format!("00-{TRACE}-b7ad6b7169203331-01");
        let context = read(&told).unwrap();
        assert_eq!(context.to_string(), told);
        assert!(context.is_sampled() && !context.unsampled().is_sampled());
        assert_eq!(
            context.unsampled().to_string(),
            format!("00-{TRACE}-b7ad6b7169203331-00")
        );
        let child = context.child();
        assert_eq!(child.trace(), context.trace());
        assert_ne!(child.span(), context.span());
        assert!(child.is_sampled());
    }

    #[test]
    fn later_versions_are_read_and_flags_without_a_meaning_cleared() {
        for (told, expected) in [
            ("cc-T-b7ad6b7169203331-01-what-comes", "01"),
            ("fe-T-b7ad6b7169203331-00", "00"),
            ("00-T-b7ad6b7169203331-03", "03"),
            ("00-T-b7ad6b7169203331-ff", "03"),
            ("00-T-b7ad6b7169203331-02", "02"),
        ] {
            let written = read(&told.replace('T', TRACE)).unwrap().to_string();
            assert_eq!(
                written,
                format!("00-{TRACE}-b7ad6b7169203331-{expected}"),
                "{told}"
            );
        }
    }

    #[test]
    fn what_is_no_traceparent_is_none() {
        let whole = format!("00-{TRACE}-b7ad6b7169203331-01");
        for told in [
            String::new(),
            "-".repeat(55),
            whole.replacen("00", "ff", 1),
            whole.replacen("00", "0", 1),
            whole.replacen("00", "+0", 1),
            format!("{whole}-more"),
            format!("{whole}-"),
            format!("{whole}0"),
            format!(" {whole}"),
            format!("{whole},{whole}"),
            whole.to_uppercase(),
            whole.replace(TRACE, &"0".repeat(32)),
            whole.replace(TRACE, &TRACE[1..]),
            whole.replace(TRACE, &format!("+{}", &TRACE[1..])),
            whole.replace("b7ad6b7169203331", &"0".repeat(16)),
            whole.replace("b7ad6b7169203331", &"b".repeat(17)),
            whole.replace("-01", "-0"),
            whole.replace("-01", "-+1"),
            whole.replace("-01", ""),
            whole.replace('-', "_"),
            "0".repeat(100_000),
        ] {
            assert_eq!(read(&told), None, "{told}");
        }
        assert_eq!(Context::read(b"\xff"), None);
    }

    #[test]
    fn new_traces_are_others() {
        let (one, other) = (Context::new(true), Context::new(false));
        assert_ne!(one.trace(), other.trace());
        assert!(one.is_sampled() && !other.is_sampled());
        assert_eq!(read(&one.to_string()), Some(one));
    }
}
