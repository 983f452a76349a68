// SPDX-License-Identifier: MIT
//! The requests that the switch answers: what is not here has no path, and what is here is in the description.

/// A request that the switch answers, by method and path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Show the switch and its services.
    Status,
    /// Show every server of every pool.
    Servers,
    /// Show every route of every service.
    Routes,
    /// Show what has happened.
    Events,
    /// Show what the kernel module has counted.
    Kernel,
    /// Show the rules in force.
    Rules,
    /// Tell what whoever asks may do.
    Role,
    /// Show this description.
    Description,
    /// Show all metrics in Prometheus' text format.
    Metrics,
    /// Change a server in one pool.
    ChangeServer,
    /// Change a server in every pool that has it.
    ChangeServerInAll,
    /// Close a service for maintenance, or open it.
    ChangeService,
    /// Tell what becomes of a request; changes nothing.
    Explain,
    /// Reload the rule file.
    Reload,
    /// Take the front's place: for `l7switch --take-over`.
    TakeOver,
}

impl Operation {
    /// Every operation. No two have the same path.
    pub const ALL: [Self; 15] = [
        Self::Status,
        Self::Servers,
        Self::Routes,
        Self::Events,
        Self::Kernel,
        Self::Rules,
        Self::Role,
        Self::Description,
        Self::ChangeServer,
        Self::ChangeServerInAll,
        Self::ChangeService,
        Self::Explain,
        Self::Reload,
        Self::TakeOver,
        Self::Metrics,
    ];

    /// The name in the description.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Servers => "servers",
            Self::Routes => "routes",
            Self::Events => "events",
            Self::Kernel => "kernel",
            Self::Rules => "rules",
            Self::Role => "role",
            Self::Description => "description",
            Self::Metrics => "metrics",
            Self::ChangeServer => "changeServer",
            Self::ChangeServerInAll => "changeServerInAll",
            Self::ChangeService => "changeService",
            Self::Explain => "explain",
            Self::Reload => "reload",
            Self::TakeOver => "takeOver",
        }
    }

    /// Its path; names in braces stand for one segment that is not empty.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Status => "/v1/status",
            Self::Servers => "/v1/servers",
            Self::Routes => "/v1/routes",
            Self::Events => "/v1/events",
            Self::Kernel => "/v1/kernel",
            Self::Rules => "/v1/rules",
            Self::Role => "/v1/role",
            Self::Description => "/v1/openapi.json",
            Self::Metrics => "/metrics",
            Self::ChangeServer => "/v1/servers/{pool}/{address}",
            Self::ChangeServerInAll => "/v1/servers/{address}",
            Self::ChangeService => "/v1/services/{name}",
            Self::Explain => "/v1/explain",
            Self::Reload => "/v1/reload",
            Self::TakeOver => "/v1/take-over",
        }
    }

    /// Its method. What takes `GET` takes `HEAD`, too (RFC 9110, 9.3.2).
    pub const fn method(self) -> &'static str {
        match self {
            Self::Status
            | Self::Servers
            | Self::Routes
            | Self::Events
            | Self::Kernel
            | Self::Rules
            | Self::Role
            | Self::Description
            | Self::Metrics => "GET",
            Self::ChangeServer | Self::ChangeServerInAll | Self::ChangeService => "PATCH",
            Self::Explain | Self::Reload | Self::TakeOver => "POST",
        }
    }

    /// Its methods, as `Allow` says it.
    pub fn allowed(self) -> &'static str {
        match self.method() {
            "GET" => "GET, HEAD",
            other => other,
        }
    }

    /// Whether it is a document that the metrics listener shows, too.
    pub const fn is_document(self) -> bool {
        matches!(
            self,
            Self::Status
                | Self::Servers
                | Self::Routes
                | Self::Events
                | Self::Kernel
                | Self::Description
        )
    }

    /// What is at a path, of its decoded segments, with the values that stand for the names in braces.
    pub fn at<'a>(segments: &[&'a str]) -> Option<(Self, Vec<&'a str>)> {
        Self::ALL.into_iter().find_map(|operation| {
            let mut values = Vec::new();
            let mut given = segments.iter();
            for wanted in operation.path().split('/').skip(1) {
                let given = given.next()?;
                match wanted.starts_with('{') {
                    true if given.is_empty() => return None,
                    true => values.push(*given),
                    false if wanted != *given => return None,
                    false => {}
                }
            }
            given.next().is_none().then_some((operation, values))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &str) -> Option<(Operation, Vec<&str>)> {
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        Operation::at(&segments)
    }

    #[test]
    fn every_operation_is_at_its_path_alone() {
        for operation in Operation::ALL {
            let (found, values) = at(operation.path()).unwrap();
            assert_eq!(found, operation);
            assert_eq!(values.len(), operation.path().matches('{').count());
        }
        let change = (Operation::ChangeServer, vec!["api", "10.0.0.1:80"]);
        assert_eq!(at("/v1/servers/api/10.0.0.1:80"), Some(change));
        for path in [
            "/",
            "/v1",
            "/v1/",
            "//v1/status",
            "/v1//status",
            "/v1/status/",
            "/v2/status",
            "/V1/status",
            "/v1/servers/",
            "/v1/servers//",
            "/v1/servers//10.0.0.1:80",
            "/v1/servers/api/",
            "/v1/servers/api/10.0.0.1:80/x",
            "/v1/services",
            "/v1/services/",
            "/metrics/",
        ] {
            assert_eq!(at(path), None, "{path}");
        }
    }
}
