// SPDX-License-Identifier: MIT
//! How lines of the access log look.

use std::str::FromStr;

use super::field::Field;
use super::line::Line;
use super::line::write;

/// The common log format (of NCSA's server, as Apache and nginx write it).
const COMMON: &str = "$client_address - $user [$time_local] \"$request\" $status $bytes_out";
/// The same with the request's `Referer` and `User-Agent`.
const COMBINED: &str = "$client_address - $user [$time_local] \"$request\" $status $bytes_out \"$referrer\" \"$user_agent\"";

/// How a line looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// `key=value` pairs of these fields.
    Text(Vec<Field>),
    /// One JSON object per line, of these fields.
    Json(Vec<Field>),
    /// As a template says.
    Template(Vec<Part>),
}

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// These characters.
    Text(String),
    /// A value.
    Field(Field),
}

impl Default for Format {
    fn default() -> Self {
        Self::Text(Field::defaults().to_vec())
    }
}

/// `text`, `json`, `common`, `combined`, or a template: text with `$field` or `${field}` in it, and `$$` for a dollar.
impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "text" => Self::default(),
            "json" => Self::Json(Field::defaults().to_vec()),
            "common" => Self::Template(template(COMMON)?),
            "combined" => Self::Template(template(COMBINED)?),
            _ if text.contains('$') => Self::Template(template(text)?),
            _ => {
                return Err(
                    "text, json, common, combined, or a template such as '$client $status $path' is wanted"
                        .to_owned(),
                );
            }
        })
    }
}

/// A list of fields: `time,client,status`; `+user_agent` adds to those that lines have anyway, and `all` are all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields(Vec<Field>);

impl FromStr for Fields {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let singles = Field::singles();
        if text == "all" {
            return Ok(Self(singles.to_vec()));
        }
        let mut fields = Vec::new();
        let list = match text.strip_prefix('+') {
            Some(list) => {
                fields.extend_from_slice(Field::defaults());
                list
            }
            None => text,
        };
        for name in list.split(',') {
            let name = name.trim().trim_start_matches('+');
            let field = Field::named(name).filter(|field| singles.contains(field));
            let field = field.ok_or_else(|| unknown(name, singles))?;
            if !fields.contains(&field) {
                fields.push(field);
            }
        }
        Ok(Self(fields))
    }
}

impl Format {
    /// The same with these fields.
    ///
    /// # Errors
    ///
    /// A template names its own.
    pub fn with(self, fields: &Fields) -> Result<Self, String> {
        let list = fields.0.clone();
        match self {
            Self::Text(_) => Ok(Self::Text(list)),
            Self::Json(_) => Ok(Self::Json(list)),
            Self::Template(_) => {
                Err("fields can be chosen for the formats text and json only".to_owned())
            }
        }
    }

    /// A line in it, without its end.
    pub(super) fn write(&self, line: &Line) -> String {
        match self {
            Self::Text(fields) => line.text(fields),
            Self::Json(fields) => line.json(fields),
            Self::Template(parts) => {
                let mut out = String::with_capacity(256);
                for part in parts {
                    match part {
                        Part::Text(text) => out.push_str(text),
                        // Where there was no response, as nginx writes it.
                        Part::Field(Field::Status) if line.status == 0 => out.push_str("000"),
                        Part::Field(field) => {
                            let spaces = matches!(
                                field,
                                Field::Request
                                    | Field::TimeLocal
                                    | Field::UserAgent
                                    | Field::Referrer
                            );
                            write(&field.value(line), spaces, &mut out);
                        }
                    }
                }
                out
            }
        }
    }

    /// Whether it says something of a field for which `of` holds.
    pub(super) fn says(&self, of: impl Fn(Field) -> bool) -> bool {
        match self {
            Self::Text(fields) | Self::Json(fields) => fields.iter().any(|&field| of(field)),
            Self::Template(parts) => parts
                .iter()
                .any(|part| matches!(part, Part::Field(field) if of(*field))),
        }
    }
}

/// The parts of a template.
fn template(text: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('$') {
        push(&mut parts, before);
        if let Some(behind) = behind.strip_prefix('$') {
            push(&mut parts, "$");
            rest = behind;
            continue;
        }
        let (name, behind) = match behind.strip_prefix('{') {
            Some(behind) => behind
                .split_once('}')
                .ok_or_else(|| "a `${` has no `}`".to_owned())?,
            None => {
                let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
                let end = behind.find(|c: char| !is_name(c)).unwrap_or(behind.len());
                behind.split_at(end)
            }
        };
        let field = Field::named(name).ok_or_else(|| unknown(name, Field::ALL))?;
        parts.push(Part::Field(field));
        rest = behind;
    }
    push(&mut parts, rest);
    Ok(parts)
}

fn push(parts: &mut Vec<Part>, text: &str) {
    match parts.last_mut() {
        Some(Part::Text(last)) => last.push_str(text),
        _ if text.is_empty() => (),
        _ => parts.push(Part::Text(text.to_owned())),
    }
}

fn unknown(name: &str, known: &[Field]) -> String {
    let names: Vec<&str> = known.iter().map(|field| field.name()).collect();
    format!(
        "there is no field `{name}` in the access log; known here: {}",
        names.join(", ")
    )
}
