// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Conditions other than host and path: method, header fields, query parameters, cookies, source, and hosts by regular
//! expressions.

use core::ops::Deref;

use super::automaton::Walk;
use super::codes::ConditionOn;
use super::codes::ConditionTest;
use super::codes::ValueKind;
use super::format::ConditionRecord;
use super::format::IntervalRecord;
use super::format::RouteRecord;
use super::format::ServiceRecord;
use super::format::SourcesRecord;
use super::format::ValueRecord;
use super::Budget;
use super::Fields;
use super::OverBudget;
use super::Request;
use super::Table;
use super::METHODS;
use crate::uri;

/// What separates the values of several fields of one name (RFC 9110, 5.2).
const JOIN: &[u8] = b", ";

/// A value as it is found in a request.
enum Value<'r, F: ?Sized> {
    /// One header field or cookie.
    Plain(&'r [u8]),
    /// Several header fields of one name: to be joined.
    Joined(&'r F, &'r [u8]),
    /// A query parameter, to be read in comparison form.
    Query(&'r [u8]),
}

/// Takes white space off both ends (RFC 9110, 5.6.3: OWS).
fn trim(mut text: &[u8]) -> &[u8] {
    while let Some((b' ' | b'\t', rest)) = text.split_first() {
        text = rest;
    }
    while let Some((b' ' | b'\t', rest)) = text.split_last() {
        text = rest;
    }
    text
}

/// Splits at the first `=`.
fn pair(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|&b| b == b'=')?;
    let (name, rest) = text.split_at_checked(at)?;
    Some((name, rest.get(1..)?))
}

fn header<'r, F: Fields + ?Sized>(fields: &'r F, name: &'r [u8]) -> Option<Value<'r, F>> {
    let mut found = fields
        .iter()
        .filter(|(n, _)| n.eq_ignore_ascii_case(name))
        .map(|(_, v)| v);
    let first = found.next()?;
    Some(if found.next().is_some() {
        Value::Joined(fields, name)
    } else {
        Value::Plain(first)
    })
}

/// The first parameter of that name; one without `=` has an empty value.
fn query<'r, F: ?Sized>(query: &'r [u8], name: &[u8]) -> Option<Value<'r, F>> {
    query
        .split(|&b| b == b'&')
        .filter(|p| !p.is_empty())
        .map(|p| pair(p).unwrap_or((p, b"")))
        .find(|(n, _)| uri::same_text(n, name))
        .map(|(_, value)| Value::Query(value))
}

/// The value of the first cookie of that name, over all Cookie fields (RFC 6265, 4.2.1; RFC 9113, 8.2.3).
/// White space around name and value does not count.
pub fn cookie<'r, F: Fields + ?Sized>(fields: &'r F, name: &[u8]) -> Option<&'r [u8]> {
    fields
        .iter()
        .filter(|(n, _)| n.eq_ignore_ascii_case(b"cookie"))
        .find_map(|(_, value)| cookie_in(value, name))
}

/// The value of the first cookie of that name in one Cookie field.
fn cookie_in<'r>(field: &'r [u8], name: &[u8]) -> Option<&'r [u8]> {
    field
        .split(|&b| b == b';')
        .filter_map(pair)
        .find(|(n, _)| trim(n) == name)
        .map(|(_, value)| trim(value))
}

impl<F: Fields + ?Sized> Value<'_, F> {
    /// Gives the value's bytes to `to` in order.
    fn feed(&self, mut to: impl FnMut(u8)) {
        match *self {
            Value::Plain(text) => text.iter().for_each(|&b| to(b)),
            Value::Joined(fields, name) => {
                let mut join: &[u8] = b"";
                for (_, value) in fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)) {
                    join.iter().chain(value).for_each(|&b| to(b));
                    join = JOIN;
                }
            }
            Value::Query(text) => uri::query_text(text, to),
        }
    }

    fn is(&self, wanted: &[u8]) -> bool {
        match *self {
            Value::Plain(text) => text == wanted,
            Value::Query(text) => uri::same_text(text, wanted),
            Value::Joined(..) => {
                let mut rest = wanted.iter();
                let mut same = true;
                self.feed(|b| same &= rest.next() == Some(&b));
                same && rest.next().is_none()
            }
        }
    }
}

impl<B: Deref<Target = [u8]>> Table<B> {
    fn value_matches<F: Fields + ?Sized>(&self, value: &Value<'_, F>, test: &ValueRecord) -> bool {
        if test.kind == ValueKind::Exact.number() {
            return value.is(self.text(test.value, test.value_len));
        }
        let Some(mut walk) = Walk::new(self, test.value) else {
            return false;
        };
        match *value {
            Value::Plain(text) => walk.push_all(text),
            _ => value.feed(|b| walk.push(b)),
        }
        walk.accept() != 0
    }

    /// Whether a condition holds.
    fn holds<F: Fields + ?Sized>(
        &self,
        condition: &ConditionRecord,
        request: &Request<'_, F>,
        budget: &mut Budget,
    ) -> Result<bool, OverBudget> {
        budget.spend(condition.values_len.saturating_add(1))?;
        let name = self.text(condition.name, condition.name_len);
        let Some((on, test)) = ConditionOn::of(condition.kind_test) else {
            return Ok(false);
        };
        let value = match on {
            ConditionOn::Field => header(request.fields, name),
            ConditionOn::Query => query(request.query, name),
            ConditionOn::Cookie => cookie(request.fields, name).map(Value::Plain),
            ConditionOn::Host => (!request.host.is_empty()).then_some(Value::Plain(request.host)),
        };
        Ok(match (test, value) {
            (ConditionTest::Present, value) => value.is_some(),
            (ConditionTest::Absent, value) => value.is_none(),
            (ConditionTest::AnyOf, None) => false,
            (ConditionTest::NoneOf, None) => true,
            (ConditionTest::AnyOf | ConditionTest::NoneOf, Some(value)) => {
                let mut tests = self.records::<ValueRecord>(condition.values, condition.values_len);
                let found = tests.any(|test| self.value_matches(&value, &test));
                found == matches!(test, ConditionTest::AnyOf)
            }
        })
    }

    /// Whether connections of a peer to a service begin with a PROXY header.
    #[inline]
    pub fn is_proxy(&self, service: &ServiceRecord, peer: [u8; 16]) -> bool {
        service.proxies != 0 && self.is_among(service.proxies.wrapping_sub(1), peer)
    }

    /// Whether one of some prefixes holds an address.
    #[cold]
    #[inline(never)]
    fn is_among(&self, sources: u32, address: [u8; 16]) -> bool {
        self.get::<SourcesRecord>(sources)
            .is_some_and(|sources| self.source_prefix(&sources, address) > 0)
    }

    /// Length + 1 of the longest of a route's source prefixes that holds an address, or 0.
    fn source_prefix(&self, sources: &SourcesRecord, address: [u8; 16]) -> u32 {
        let wanted = u128::from_be_bytes(address);
        // The last interval that starts at the address or before it.
        let (mut low, mut high) = (0u32, sources.intervals_len);
        let mut matched = 0;
        while low < high {
            let middle = low.wrapping_add(high.wrapping_sub(low) >> 1);
            let Some(i) = self.get::<IntervalRecord>(sources.intervals.wrapping_add(middle)) else {
                return 0;
            };
            let words = [i.a0, i.a1, i.a2, i.a3];
            let start = words.iter().fold(0u128, |n, &w| (n << 32) | u128::from(w));
            if start <= wanted {
                matched = i.matched;
                low = middle.wrapping_add(1);
            } else {
                high = middle;
            }
        }
        matched
    }

    /// Whether a route takes a request whose host and path it takes: then the length + 1 of the source
    /// prefix that matched, or 0 where the route names no source. Everything tried is spent first.
    // Alone, so that what it needs of the table is not read for a candidate without conditions.
    #[inline(never)]
    pub(super) fn conditions<F: Fields + ?Sized>(
        &self,
        route: &RouteRecord,
        request: &Request<'_, F>,
        budget: &mut Budget,
    ) -> Result<Option<u32>, OverBudget> {
        if route.methods != 0 || route.other_methods_len != 0 {
            budget.spend(route.other_methods_len)?;
            if !self.method(route, request.method) {
                return Ok(None);
            }
        }
        let source = match route.sources.checked_sub(1) {
            None => 0,
            Some(index) => {
                let sources = self.get(index);
                let matched = sources.map_or(0, |s| self.source_prefix(&s, request.source));
                if matched == 0 {
                    return Ok(None);
                }
                matched
            }
        };
        for condition in self.records::<ConditionRecord>(route.conditions, route.conditions_len) {
            if !self.holds(&condition, request, budget)? {
                return Ok(None);
            }
        }
        Ok(Some(source))
    }

    fn method(&self, route: &RouteRecord, method: &[u8]) -> bool {
        match METHODS.iter().position(|&known| known == method) {
            Some(bit) => route.methods >> (bit & 31) & 1 == 1,
            None => self
                .records::<ValueRecord>(route.other_methods, route.other_methods_len)
                .any(|v| self.text(v.value, v.value_len) == method),
        }
    }

    /// The records of a range.
    #[inline]
    pub(super) fn records<R: super::format::Record>(
        &self,
        start: u32,
        len: u32,
    ) -> impl Iterator<Item = R> + '_ {
        (start..start.saturating_add(len)).map_while(|index| self.get(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_found_in_every_field_and_trimmed() {
        let fields: &[(&[u8], &[u8])] = &[
            (b"Cookie", b"a=1; b = 2 ;nothing; =x;c=\"q=r\""),
            (b"X", b"d=4"),
            (b"cookie", b"a=9;d=5"),
        ];
        let find = |name: &[u8]| cookie(fields, name);
        assert_eq!(find(b"a"), Some(&b"1"[..]), "the first of a name");
        assert_eq!(find(b"b"), Some(&b"2"[..]), "white space does not count");
        assert_eq!(find(b"c"), Some(&b"\"q=r\""[..]));
        assert_eq!(find(b"d"), Some(&b"5"[..]), "Cookie fields only");
        assert_eq!(find(b"nothing"), None);
        assert_eq!(find(b"A"), None, "names have case");
    }

    #[test]
    fn query_parameters_are_found_in_comparison_form() {
        let find = |text: &'static [u8], name: &[u8], wanted: &[u8]| {
            query::<[(&[u8], &[u8])]>(text, name).map(|value| value.is(wanted))
        };
        assert_eq!(find(b"a=%31&a=2", b"a", b"1"), Some(true), "the first");
        assert_eq!(find(b"%61=x%2fy", b"a", b"x%2Fy"), Some(true));
        assert_eq!(
            find(b"&&a", b"a", b""),
            Some(true),
            "no value is an empty one"
        );
        assert_eq!(find(b"ab=1", b"a", b"1"), None);
    }
}
