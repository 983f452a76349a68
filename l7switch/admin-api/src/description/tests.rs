// SPDX-License-Identifier: MIT
//! The description is whole, and what docs/ have.

use super::*;

/// All objects within, with their places.
fn walk(value: &Value, at: &str, see: &mut impl FnMut(&str, &Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            see(at, object);
            for (key, value) in object {
                walk(value, &format!("{at}/{key}"), see);
            }
        }
        Value::Array(items) => {
            for (number, value) in items.iter().enumerate() {
                walk(value, &format!("{at}/{number}"), see);
            }
        }
        _ => {}
    }
}

#[test]
fn what_docs_have_is_what_is_served() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
    let mut expected = serde_json::to_string_pretty(&description()).unwrap();
    expected.push('\n');
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(path, &expected).unwrap();
    }
    let found = std::fs::read_to_string(path).unwrap();
    assert!(
        found == expected,
        "UPDATE_GOLDEN=1 cargo test -p l7switch-admin-api writes docs/openapi.json"
    );
}

#[test]
fn a_schema_of_both_kinds_is_one() {
    let settings = || {
        SchemaSettings::draft2020_12().with(|s| s.definitions_path = "/components/schemas".into())
    };
    let mut schemas = Schemas {
        sent: settings().for_deserialize().into_generator(),
        answered: settings().for_serialize().into_generator(),
    };
    for operation in Operation::ALL {
        schemas.operation(operation);
    }
    for (name, sent) in schemas.sent.definitions() {
        let answered = schemas.answered.definitions().get(name);
        assert!(answered.is_none_or(|answered| answered == sent), "{name}");
    }
}

#[test]
fn every_reference_leads_somewhere_and_everything_is_explained() {
    let whole = description();
    walk(&whole, "", &mut |at, object| {
        if let Some(Value::String(to)) = object.get("$ref") {
            let pointer = to.strip_prefix('#').unwrap();
            assert!(whole.pointer(pointer).is_some(), "{at}: {to}");
        }
        if let (Some(Value::Object(properties)), Some(_)) =
            (object.get("properties"), object.get("type"))
        {
            for (name, property) in properties {
                assert!(property["description"].is_string(), "{at}: {name}");
            }
        }
    });
    for (name, schema) in whole["components"]["schemas"].as_object().unwrap() {
        assert!(schema["description"].is_string(), "{name}");
    }
    // A key that is not known is refused in requests, and nowhere else.
    let closed: Vec<&str> = whole["components"]["schemas"]
        .as_object()
        .unwrap()
        .iter()
        .filter(|(_, schema)| schema["additionalProperties"] == false)
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(closed, ["Question", "ServerChange", "ServiceChange"]);
}

#[test]
fn examples_are_as_described() {
    let whole = description();
    let mut seen = 0;
    walk(&whole, "", &mut |at, object| {
        let Some(schema) = object.get("schema") else {
            return;
        };
        let mut schema = schema.clone();
        let Some(inner) = schema.as_object_mut() else {
            panic!("{at}")
        };
        inner.insert("components".to_owned(), whole["components"].clone());
        let validator = jsonschema::validator_for(&schema).unwrap();
        let several = object.get("examples").and_then(Value::as_object);
        let several = several.into_iter().flat_map(|all| all.values());
        let examples = several.map(|example| &example["value"]);
        for example in examples.chain(object.get("example")) {
            seen += 1;
            let wrong = validator.validate(example).err().map(|e| e.to_string());
            assert_eq!(wrong, None, "{at}: {example}");
        }
    });
    assert!(seen > 25, "{seen}");
}

#[test]
fn requests_that_are_described_are_those_that_are_taken() {
    let whole = description();
    let takes = |name: &str, text: &str| {
        let schema = json!({ "$ref": format!("#/components/schemas/{name}"), "components": whole["components"] });
        let validator = jsonschema::validator_for(&schema).unwrap();
        validator.is_valid(&serde_json::from_str(text).unwrap())
    };
    for (name, text, is_right) in [
        ("ServerChange", "{}", true),
        ("ServerChange", r#"{"weight":65535,"state":"up"}"#, true),
        ("ServerChange", r#"{"weight":null,"state":null}"#, true),
        ("ServerChange", r#"{"weight":65536}"#, false),
        ("ServerChange", r#"{"weight":-1}"#, false),
        ("ServerChange", r#"{"weight":"1"}"#, false),
        ("ServerChange", r#"{"wieght":1}"#, false),
        ("ServerChange", "[]", false),
        ("ServiceChange", r#"{"maintenance":true}"#, true),
        ("ServiceChange", r#"{"maintenance":null}"#, true),
        (
            "ServiceChange",
            r#"{"maintenance":{"except":["10.0.0.0/8","::1","fe80::/10","1:2:3:4:5:6:7:8"]}}"#,
            true,
        ),
        (
            "ServiceChange",
            r#"{"maintenance":{"except":["10.0.0.0/33"]}}"#,
            false,
        ),
        (
            "ServiceChange",
            r#"{"maintenance":{"except":["10.0.0"]}}"#,
            false,
        ),
        (
            "ServiceChange",
            r#"{"maintenance":{"except":["::1/129"]}}"#,
            false,
        ),
        (
            "ServiceChange",
            r#"{"maintenance":{"except":["1::2::3"]}}"#,
            false,
        ),
        (
            "ServiceChange",
            r#"{"maintenance":{"except":[],"x":1}}"#,
            false,
        ),
        ("ServiceChange", r#"{"maintenance":{}}"#, false),
        ("Question", r#"{"url":"/a?b=c","service":"web"}"#, true),
        (
            "Question",
            r#"{"url":"https://a.example:443/","headers":[["Cookie","a=b"]]}"#,
            true,
        ),
        (
            "Question",
            r#"{"url":"http://[::1]:80","source":"::1"}"#,
            true,
        ),
        (
            "Question",
            r#"{"url":"/login?next=http://a.example/"}"#,
            true,
        ),
        ("Question", r#"{"url":"http://*"}"#, true),
        ("Question", r#"{"url":"tcp://ä:065535?x#y z"}"#, false),
        ("Question", r#"{"url":"tcp://ä:065535?ä#ä"}"#, true),
        ("Question", r#"{"url":"http://a:65536/"}"#, false),
        ("Question", r#"{"url":"http://a:b/"}"#, false),
        ("Question", r#"{"url":"http://[::1/"}"#, false),
        ("Question", r#"{"url":"http://[::1]a/"}"#, false),
        ("Question", r#"{"url":"/ä"}"#, false),
        ("Question", "{}", false),
        ("Question", r#"{"url":""}"#, false),
        ("Question", r#"{"url":"gopher://a/"}"#, false),
        ("Question", r#"{"url":"/a b"}"#, false),
        ("Question", r#"{"url":"/","headers":[["a b","c"]]}"#, false),
        ("Question", r#"{"url":"/","headers":[["a"]]}"#, false),
        ("Question", r#"{"url":"/","methods":"GET"}"#, false),
    ] {
        assert_eq!(takes(name, text), is_right, "{name}: {text}");
        // Patterns are looked at later.
        if is_right {
            let taken = match name {
                "ServerChange" => serde_json::from_str::<ServerChange>(text).is_ok(),
                "ServiceChange" => serde_json::from_str::<ServiceChange>(text).is_ok(),
                _ => serde_json::from_str::<Question>(text).is_ok(),
            };
            assert!(taken, "{name}: {text}");
        }
    }
}
