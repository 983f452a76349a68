// SPDX-License-Identifier: MIT
//! The description of the requests by OpenAPI 3.1, made of the types and of the list of operations.

use schemars::JsonSchema;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde::Serialize;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use crate::Allowed;
use crate::Events;
use crate::Explained;
use crate::Failure;
use crate::KernelNumbers;
use crate::Operation;
use crate::Question;
use crate::Reloaded;
use crate::Routes;
use crate::RulesInForce;
use crate::ServerChange;
use crate::Servers;
use crate::ServiceChange;
use crate::ServiceStatus;
use crate::Status;

mod examples;
#[cfg(test)]
mod tests;

/// What holds for all requests.
const ABOUT: &str = "HTTP/1.1 with JSON over the admin socket of a running switch, or over TCP with TLS (`--admin-listen`): each client shows a \
certificate, whose names say what it may do. One that is not good any more gets 403 for every request. The metrics listener has `/metrics` and the documents that \
can be read, too; what is at it alone is in docs/admin-api.md.\n\n\
Answers may have more keys in later versions: ignore those that you do not know. A request with a key that is not known is refused (400). \
`Content-Type` of a request is not looked at. What takes `GET` takes `HEAD`, too. Every other path is answered by 404, every other \
method by 405 with `Allow`, both with an `Error`.";

/// The description: an OpenAPI document, version 3.1.
pub fn description() -> Value {
    let settings = || {
        SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        })
    };
    let mut schemas = Schemas {
        sent: settings().for_deserialize().into_generator(),
        answered: settings().for_serialize().into_generator(),
    };
    let mut paths = Map::new();
    for operation in Operation::ALL {
        let method = operation.method().to_ascii_lowercase();
        let mut path = json!({ method: schemas.operation(operation) });
        let parameters = parameters(operation);
        if let (false, Some(path)) = (parameters.is_empty(), path.as_object_mut()) {
            path.insert("parameters".to_owned(), parameters.into());
        }
        paths.insert(operation.path().to_owned(), path);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "l7switch admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "MIT", "identifier": "MIT" },
            "description": ABOUT,
        },
        "servers": [
            { "url": "http://l7switch", "description": "the admin socket, whatever the host" },
            {
                "url": "https://{host}:{port}",
                "description": "the address of --admin-listen",
                "variables": { "host": { "default": "localhost" }, "port": { "default": "7443" } },
            },
        ],
        "security": [{}, { "certificate": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas.components(),
            "securitySchemes": {
                "certificate": {
                    "type": "mutualTLS",
                    "description": "over TCP; at the admin socket the user says who asks",
                },
            },
        },
    })
}

/// Those of requests, where a key may be left out, and of answers, where it is there.
struct Schemas {
    sent: SchemaGenerator,
    answered: SchemaGenerator,
}

impl Schemas {
    fn operation(&mut self, operation: Operation) -> Value {
        let (summary, more) = words(operation);
        let mut described = json!({
            "operationId": operation.id(),
            "summary": summary,
            "description": more,
            "responses": self.answers(operation),
        });
        if let Some(object) = described.as_object_mut() {
            if more.is_empty() {
                object.remove("description");
            }
            let schema = match operation {
                Operation::ChangeServer | Operation::ChangeServerInAll => {
                    Some(self.sent::<ServerChange>())
                }
                Operation::ChangeService => Some(self.sent::<ServiceChange>()),
                Operation::Explain => Some(self.sent::<Question>()),
                _ => None,
            };
            if let Some(schema) = schema {
                let content = json!({ "schema": schema, "examples": examples::sent(operation) });
                let body = json!({ "required": true, "content": { "application/json": content } });
                object.insert("requestBody".to_owned(), body);
            }
        }
        described
    }

    fn answers(&mut self, operation: Operation) -> Map<String, Value> {
        let mut answers = Map::new();
        let (status, good) = self.good(operation);
        answers.insert(status.to_owned(), good);
        for (status, why) in failures(operation) {
            let mut answer = self.json::<Failure>(why, examples::failure(operation, status));
            if let (426, Some(object)) = (*status, answer.as_object_mut()) {
                let header = json!({
                    "description": "the protocol that is spoken",
                    "required": true,
                    "schema": { "type": "string" },
                });
                object.insert("headers".to_owned(), json!({ "Upgrade": header }));
            }
            answers.insert(status.to_string(), answer);
        }
        answers
    }

    fn good(&mut self, operation: Operation) -> (&'static str, Value) {
        let example = examples::answered(operation);
        let answer = match operation {
            Operation::Status => self.json::<Status>("the switch", example),
            Operation::Servers => self.json::<Servers>("all servers", example),
            Operation::Routes => self.json::<Routes>("the routes", example),
            Operation::Events => self.json::<Events>("the events", example),
            Operation::Kernel => self.json::<KernelNumbers>("the module", example),
            Operation::Rules => self.json::<RulesInForce>("the rules", example),
            Operation::Role => self.json::<Allowed>("the role", example),
            Operation::Description => self.json::<crate::Object>("this description", example),
            Operation::ChangeServer | Operation::ChangeServerInAll => {
                self.json::<Servers>("the changed servers", example)
            }
            Operation::ChangeService => self.json::<ServiceStatus>("the service", example),
            Operation::Explain => self.json::<Explained>("what becomes of it", example),
            Operation::Reload => self.json::<Reloaded>("new rules are in force", example),
            Operation::Metrics => json!({
                "description": "all metrics",
                "content": { "text/plain": { "schema": { "type": "string" } } },
            }),
            Operation::TakeOver => {
                let description = "the connection goes on with frames of the protocol";
                return ("101", json!({ "description": description }));
            }
        };
        ("200", answer)
    }

    fn json<T: JsonSchema>(&mut self, why: &str, example: Option<Value>) -> Value {
        let schema = self.answered.subschema_for::<T>();
        let mut content = json!({ "schema": schema });
        if let (Some(example), Some(content)) = (example, content.as_object_mut()) {
            content.insert("example".to_owned(), example);
        }
        json!({ "description": why, "content": { "application/json": content } })
    }

    fn sent<T: JsonSchema>(&mut self) -> Value {
        self.sent.subschema_for::<T>().to_value()
    }

    /// All that were named. One of both kinds is the same in both: a test looks.
    fn components(mut self) -> Map<String, Value> {
        let mut all = self.answered.take_definitions(true);
        all.extend(self.sent.take_definitions(true));
        all
    }
}

/// What a request is for, and what is to be said beyond that.
const fn words(operation: Operation) -> (&'static str, &'static str) {
    match operation {
        Operation::Status => ("Show the switch and its services", ""),
        Operation::Servers => ("Show every server of every pool", ""),
        Operation::Routes => (
            "Show every route of every service",
            "In the order of the rule file.",
        ),
        Operation::Events => (
            "Show what has happened",
            "The last 256 events, the newest first.",
        ),
        Operation::Kernel => ("Show what the kernel module has counted", ""),
        Operation::Rules => ("Show the rules in force", ""),
        Operation::Role => ("Tell what whoever asks may do", ""),
        Operation::Description => ("Show this description", ""),
        Operation::Metrics => ("Show all metrics in Prometheus' text format", ""),
        Operation::ChangeServer => ("Change a server in one pool", ""),
        Operation::ChangeServerInAll => ("Change a server in every pool that has it", ""),
        Operation::ChangeService => (
            "Close a service for maintenance, or open it",
            "For services of the protocols `http` and `https`.",
        ),
        Operation::Explain => (
            "Tell what becomes of a request",
            "By the rules in force, and the kernel module and the servers as they stand. It changes nothing.",
        ),
        Operation::Reload => (
            "Reload the rule file",
            "The answer comes when the new rules are in force, or when the reload has failed. A body is not looked at.",
        ),
        Operation::TakeOver => (
            "Take the front's place",
            "For `l7switch --take-over`, on a Unix socket: `Upgrade` names the protocol.",
        ),
    }
}

/// The statuses of what goes wrong, and why.
const fn failures(operation: Operation) -> &'static [(u16, &'static str)] {
    const CONTENT: (u16, &str) = (400, "the content is not as described");
    const SLOW: (u16, &str) = (408, "the content has not come within 10 s");
    const LONG: (u16, &str) = (413, "the content is longer than 64 KiB");
    const AWAY: (u16, &str) = (
        503,
        "the switch is shutting down, or another process has taken its place: ask again",
    );
    const ROLE: (u16, &str) = (403, "whoever asks may only read");
    match operation {
        Operation::Routes => &[(400, "`most` is not a number, or is there twice")],
        Operation::ChangeServer | Operation::ChangeServerInAll => &[
            CONTENT,
            ROLE,
            (
                404,
                "there is no such pool or server; `known` has those that are",
            ),
            SLOW,
            LONG,
            AWAY,
        ],
        Operation::ChangeService => &[
            (
                400,
                "the content is not as described, or the service has no maintenance",
            ),
            ROLE,
            (404, "there is no such service; `known` has those that are"),
            SLOW,
            LONG,
            (422, "the rules cannot be put in force"),
            AWAY,
        ],
        Operation::Explain => &[
            (
                400,
                "the question makes no sense, or leads to several services",
            ),
            (404, "it leads to no service; `known` has those that are"),
            SLOW,
            LONG,
        ],
        Operation::Reload => &[
            ROLE,
            (422, "the rules cannot be put in force; nothing has changed"),
            AWAY,
        ],
        Operation::TakeOver => &[
            (
                403,
                "the process is neither of the front's user nor of root, or asks over TCP",
            ),
            (409, "another successor is taking the place"),
            (426, "another protocol, or none"),
            (503, "the switch is shutting down"),
        ],
        _ => &[],
    }
}

fn parameters(operation: Operation) -> Vec<Value> {
    let names = operation.path().split('/');
    let names = names.filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'));
    let mut parameters: Vec<Value> = names
        .map(|name| {
            let (description, example) = match name {
                "pool" => ("the pool", "api"),
                "address" => (
                    "the server: an IP address and a port, or `unix:` and the path of a Unix socket",
                    "10.0.0.1:80",
                ),
                _ => ("the service", "web"),
            };
            json!({
                "name": name,
                "in": "path",
                "required": true,
                "description": description,
                "schema": { "type": "string", "minLength": 1 },
                "example": example,
            })
        })
        .collect();
    if operation == Operation::Routes {
        parameters.push(json!({
            "name": "most",
            "in": "query",
            "description": "as many routes as this at most, those with the most requests; without it, all",
            "schema": { "type": "integer", "minimum": 0, "maximum": u64::MAX },
            "example": 20,
        }));
    }
    parameters
}

/// A value of a type that is always written.
fn written(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}
