// SPDX-License-Identifier: MIT
//! The language as a JSON Schema.

use super::language::RuleFile;

/// The JSON Schema of the language, for editors.
pub fn json_schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(RuleFile);
    schema.insert("title".into(), "l7switch rules".into());
    let mut value = schema.to_value();
    drop_null(&mut value);
    value
}

/// Takes `null` out of a schema: a key that is not given is not there, TOML has no null.
fn drop_null(schema: &mut serde_json::Value) {
    use serde_json::Value;
    match schema {
        Value::Array(items) => items.iter_mut().for_each(drop_null),
        Value::Object(object) => {
            if let Some(Value::Array(types)) = object.get_mut("type") {
                types.retain(|t| t != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    object.insert("type".into(), only);
                }
            }
            if let Some(Value::Array(choices)) = object.get_mut("anyOf") {
                choices.retain(|c| c.get("type").is_none_or(|t| t != "null"));
            }
            object.values_mut().for_each(drop_null);
        }
        _ => {}
    }
}
