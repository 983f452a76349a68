// SPDX-License-Identifier: MIT
//! nginx's `return` and `rewrite`.

use std::collections::HashMap;

use super::read::Directive;
use super::words::groups;
use super::words::pattern;
use super::words::template;
use crate::import::conditions::Atom;
use crate::import::conditions::Path;
use crate::import::flow::Edit;
use crate::import::flow::Effect;
use crate::import::flow::End;
use crate::import::flow::Step;
use crate::import::flow::always;
use crate::import::flow::only;
use crate::import::haproxy::whole;
use crate::import::toml::Toml;

/// Variables that have one value in a server.
pub(super) type Known<'d> = HashMap<&'d str, String>;

/// What `return` says.
///
/// # Errors
///
/// Why it has no counterpart.
pub(super) fn returned(
    directive: &Directive,
    known: &Known<'_>,
    content_type: Option<&str>,
) -> Result<End, String> {
    let (status, text) = match (directive.word(0).parse::<i64>(), directive.word(1)) {
        (Ok(status), text) => (status, text),
        (Err(_), _) => (302, directive.word(0)),
    };
    if matches!(status, 301 | 302 | 303 | 307 | 308) && !text.is_empty() {
        return redirect(text, status, known);
    }
    // A connection that is closed without an answer.
    let status = if status == 444 { 403 } else { status };
    let mut respond = Toml::table([("status", Toml::Number(status))]);
    if !text.is_empty() {
        if text.contains('$') {
            return Err("content with variables has no counterpart".to_owned());
        }
        respond.set("body", text.into());
        if let Some(kind) = content_type {
            respond.set("content_type", kind.into());
        }
    }
    Ok(End::Respond(respond))
}

fn redirect(to: &str, status: i64, known: &Known<'_>) -> Result<End, String> {
    let rest = to
        .strip_suffix("$request_uri")
        .or(to.strip_suffix("${request_uri}"));
    let scheme = rest.and_then(|rest| rest.split_once("://"));
    let mut redirect = match scheme {
        Some((scheme @ ("http" | "https"), "$host" | "$http_host" | "${host}")) => {
            Toml::table([("scheme", scheme.into())])
        }
        Some((scheme @ ("http" | "https"), host)) if !host.contains(['$', '/', ':']) => {
            Toml::table([("scheme", scheme.into()), ("hostname", host.into())])
        }
        _ if to.starts_with('/') && !to.contains(['$', '?', '#']) => {
            Toml::table([("path", Toml::table([("replace_full", to.into())]))])
        }
        _ if to.starts_with('/') => {
            let location = format!("${{scheme}}://${{host}}{}", template(to, known)?);
            Toml::table([("location", location.into())])
        }
        _ => Toml::table([("location", template(to, known)?.into())]),
    };
    redirect.set("status", Toml::Number(status));
    Ok(End::Redirect(redirect))
}

/// The step of a `rewrite`. `in_location`: what it changes does not choose a location any more.
///
/// # Errors
///
/// Why it has no counterpart.
pub(super) fn rewrite(
    directive: &Directive,
    known: &Known<'_>,
    in_location: bool,
) -> Result<Step, String> {
    let (text, to, flag) = (directive.word(0), directive.word(1), directive.word(2));
    let (found, wider) = pattern(text, false)?;
    if wider {
        return Err(format!("the expression {text} is not understood (PCRE)"));
    }
    let step = |condition, effect| Step {
        origin: directive.origin(),
        condition,
        effect,
        guards: false,
    };
    let elsewhere =
        to.starts_with("http://") || to.starts_with("https://") || to.starts_with("$scheme");
    let status = if flag == "permanent" { 301 } else { 302 };
    if elsewhere || matches!(flag, "permanent" | "redirect") {
        let every = matches!(text, "^" | ".*" | "^.*$" | "^(.*)$" | "^/(.*)$");
        let condition = match every {
            true => always(),
            false => only(Atom::Path(vec![Path::Regex(found.clone())])),
        };
        let stripped = to.strip_suffix('?');
        let end = if !elsewhere {
            moved(None, &found, stripped.unwrap_or(to), status)?
        } else if let Some((scheme, rest)) = to
            .split_once("://")
            .filter(|(scheme, _)| !scheme.contains('$'))
        {
            match rest.split_once('/') {
                // The whole of the request, with its query.
                Some((host, path)) if !host.contains('$') && !path.starts_with("$request_uri") => {
                    moved(Some((scheme, host)), &found, &format!("/{path}"), status)?
                }
                _ => redirect(
                    &to.replace("/$1", "$request_uri").replace('?', ""),
                    status,
                    known,
                )?,
            }
        } else {
            redirect(
                &to.replace("/$1", "$request_uri").replace('?', ""),
                status,
                known,
            )?
        };
        return Ok(step(condition, Effect::End(end)));
    }
    if flag != "break" || !in_location {
        return Err("the rewritten path does not choose the route anew: write the route for the path that is sent".to_owned());
    }
    if to.contains('?') {
        return Err("a rewrite does not change the query".to_owned());
    }
    let path = Toml::table([
        ("replace_regex", whole(&found).into()),
        ("with", groups(to)?.into()),
    ]);
    Ok(step(always(), Effect::Edit(Edit::Rewrite("path", path))))
}

/// A redirect to a path that is made of the request's.
fn moved(to: Option<(&str, &str)>, found: &str, path: &str, status: i64) -> Result<End, String> {
    let mut redirect = Toml::Table(Vec::new());
    if let Some((scheme, host)) = to {
        redirect.set("scheme", scheme.into());
        redirect.set("hostname", host.into());
    }
    let path = match path.contains('$') {
        true => Toml::table([
            ("replace_regex", whole(found).into()),
            ("with", groups(path)?.into()),
        ]),
        false => Toml::table([("replace_full", path.into())]),
    };
    redirect.set("path", path);
    redirect.set("status", Toml::Number(status));
    Ok(End::Redirect(redirect))
}
