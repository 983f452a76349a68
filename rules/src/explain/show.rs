// SPDX-License-Identifier: MIT
//! An explanation as a person reads it.

use std::fmt;

use super::Explanation;
use super::Outcome;
use super::Path;
use crate::model::Content;
use crate::model::PathRewrite;
use crate::model::RateKey;

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "service  {}  ({})", self.service, self.service_why)?;
        let what: Vec<&str> = [self.method.as_str(), self.host.as_str(), self.path.as_str()]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect();
        writeln!(f, "request  {}", what.join(" "))?;
        writeln!(f, "route    {}", self.route.as_deref().unwrap_or("none"))?;
        writeln!(f, "why      {}", self.why)?;
        match (self.action, self.status, &self.redirect) {
            (Outcome::Forward, ..) => {
                let total: u64 = self.pools.iter().map(|p| u64::from(p.weight)).sum();
                for pool in &self.pools {
                    pool.fmt(f, (self.pools.len() > 1).then_some(total))?;
                }
            }
            (Outcome::Redirect, Some(status), Some(redirect)) => {
                write!(f, "action   redirect {status}")?;
                for (key, value) in [("scheme", &redirect.scheme), ("host", &redirect.hostname)] {
                    if let Some(value) = value {
                        write!(f, " {key} {value}")?;
                    }
                }
                if let Some(port) = redirect.port {
                    write!(f, " port {port}")?;
                }
                match &redirect.path {
                    Some(PathRewrite::ReplaceFull(path)) => write!(f, " path {path}")?,
                    Some(PathRewrite::ReplacePrefix(path)) => write!(f, " prefix becomes {path}")?,
                    Some(PathRewrite::ReplaceRegex(rewrite)) => {
                        write!(f, " {} becomes {rewrite}", rewrite.pattern)?;
                    }
                    None => {}
                }
                if let Some(location) = &redirect.location {
                    write!(f, " to {location}")?;
                }
                writeln!(f)?;
            }
            (Outcome::Respond, Some(status), _) => writeln!(f, "action   respond {status}")?,
            (_, Some(status), _) => writeln!(f, "action   the switch answers {status}")?,
            _ => writeln!(f, "action   the switch closes the connection")?,
        }
        let datapath = match self.datapath {
            Path::Kernel => "kernel",
            Path::Front => "front",
        };
        writeln!(f, "path     {datapath}: {}", self.datapath_why)?;
        self.fmt_permission(f)?;
        self.fmt_filters(f)?;
        self.fmt_limits(f)?;
        const SHOWN: usize = 20;
        for other in self
            .considered
            .iter()
            .filter(|c| Some(&c.route) != self.route.as_ref())
            .take(SHOWN)
        {
            write!(f, "other    {}: ", other.route)?;
            match other.beaten_by {
                Some(step) => writeln!(f, "matches, but the winner has precedence: {step}")?,
                None => {
                    let failures: Vec<String> = other
                        .failed
                        .iter()
                        .map(|x| {
                            let found = x.found.as_deref().unwrap_or("nothing");
                            format!("{} wants {}, found {found}", x.condition, x.wants)
                        })
                        .collect();
                    writeln!(f, "{}", failures.join("; "))?;
                }
            }
        }
        let rest = self
            .considered
            .len()
            .saturating_sub(SHOWN + usize::from(self.route.is_some()));
        if rest > 0 {
            writeln!(f, "         and {rest} more (all with --json)")?;
        }
        Ok(())
    }
}

impl Explanation {
    fn fmt_filters(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let filters = &self.filters;
        for (what, edit) in [
            ("request", &filters.request_headers),
            ("response", &filters.response_headers),
        ] {
            for name in &edit.remove {
                writeln!(f, "filter   {what}: remove {name}")?;
            }
            for (name, value) in &edit.set {
                writeln!(f, "filter   {what}: set {name}: {value}")?;
            }
            for (name, value) in &edit.add {
                writeln!(f, "filter   {what}: add {name}: {value}")?;
            }
        }
        if let Some(host) = &filters.rewrite_hostname {
            writeln!(f, "filter   rewrite host to {host}")?;
        }
        match &filters.rewrite_path {
            Some(PathRewrite::ReplaceFull(path)) => writeln!(f, "filter   rewrite path to {path}")?,
            Some(PathRewrite::ReplacePrefix(path)) => {
                writeln!(f, "filter   rewrite prefix to {path}")?
            }
            Some(PathRewrite::ReplaceRegex(rewrite)) => {
                writeln!(f, "filter   rewrite {} to {rewrite}", rewrite.pattern)?;
            }
            None => {}
        }
        if let Some(target) = &self.rewritten {
            writeln!(f, "         the server gets {target}")?;
        }
        for (what, time) in [
            ("response", filters.response_timeout),
            ("request", filters.request_timeout),
            ("idle", filters.idle_timeout),
            ("tunnel", filters.tunnel_timeout),
        ] {
            if let Some(time) = time {
                writeln!(f, "filter   {what} timeout {time:?}")?;
            }
        }
        Ok(())
    }

    fn fmt_permission(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(realm) = &self.basic_auth {
            writeln!(f, "auth     user and password for {realm:?}")?;
        }
        if let Some(asked) = &self.external_auth {
            let path = asked.path.as_deref().unwrap_or_default();
            writeln!(f, "auth     pool {} is asked for {path}", asked.pool)?;
        }
        if let Some(mirror) = &self.mirror {
            writeln!(
                f,
                "mirror   pool {} gets {} % of the requests",
                mirror.pool, mirror.percent
            )?;
        }
        for page in &self.error_pages {
            match page.statuses {
                (first, last) if first == last => write!(f, "page     {first}: ")?,
                (first, last) => write!(f, "page     {first}-{last}: ")?,
            }
            match &page.content {
                Content::File(path) => write!(f, "{}", path.display())?,
                Content::Text(text) => write!(f, "{} bytes of the rules", text.len())?,
            }
            if let Some(status) = page.status {
                write!(f, ", sent with {status}")?;
            }
            if page.intercept {
                write!(f, ", also for servers' errors")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }

    fn fmt_limits(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(limit) = &self.rate_limit {
            write!(
                f,
                "limit    {} requests in {:?}, burst {}, by ",
                limit.requests, limit.per, limit.burst
            )?;
            match &limit.key {
                RateKey::Source => writeln!(f, "source")?,
                RateKey::Route => writeln!(f, "route")?,
                RateKey::Header(name) => writeln!(f, "header {name}")?,
                RateKey::Cookie(name) => writeln!(f, "cookie {name}")?,
            }
        }
        if let Some(cookie) = &self.sticky {
            writeln!(f, "sticky   by cookie {cookie}")?;
        }
        if let Some(length) = self.body_limit {
            writeln!(f, "limit    {length} bytes of content")?;
        }
        Ok(())
    }
}
