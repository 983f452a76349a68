// SPDX-License-Identifier: MIT
//! nginx's configuration as text: words with quotes and escapes, directives, blocks, and files that are included.

use std::path::Path;
use std::path::PathBuf;

use crate::import::source;
use crate::import::source::Wrong;
use crate::import::source::checked;

/// A directive with its arguments, and its block if it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Directive {
    pub(super) file: String,
    pub(super) line: usize,
    pub(super) name: String,
    pub(super) arguments: Vec<String>,
    pub(super) block: Option<Vec<Directive>>,
}

impl Directive {
    /// An argument, or nothing.
    pub(super) fn word(&self, number: usize) -> &str {
        self.arguments.get(number).map_or("", String::as_str)
    }

    /// Where it stands and how it is written.
    pub(super) fn origin(&self) -> String {
        let words: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let text = format!("{} {}", self.name, words.join(" "));
        format!("{}:{}: {}", self.file, self.line, text.trim_end())
    }

    /// What is in its block.
    pub(super) fn inside(&self) -> &[Directive] {
        self.block.as_deref().unwrap_or_default()
    }
}

const DEEPEST: usize = 32;
const DEEPEST_INCLUDE: usize = 16;
const MOST_DIRECTIVES: usize = 200_000;
const MOST_FILES: usize = 5000;
/// Files of nginx's own without which a configuration means the same here.
const OPTIONAL: &[&str] = &[
    "mime.types",
    "fastcgi_params",
    "fastcgi.conf",
    "uwsgi_params",
    "scgi_params",
    "fastcgi-php.conf",
];

/// Reads a file and all that it includes.
///
/// # Errors
///
/// [`Wrong`]: it is not nginx's language, a file cannot be read, files include one another, or there is too much of it.
pub(super) fn read(path: &Path) -> Result<Vec<Directive>, Wrong> {
    let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
    let text = source::read(path)?;
    let mut reader = Reader {
        folder,
        open: vec![path.to_path_buf()],
        directives: 0,
        files: 0,
    };
    reader.file(&source::short(path), &text)
}

/// Reads a text that includes nothing. For tests.
#[cfg(test)]
pub(in crate::import) fn read_text(text: &str) -> Result<Vec<Directive>, Wrong> {
    let mut reader = Reader {
        folder: PathBuf::from("/nonexistent"),
        open: Vec::new(),
        directives: 0,
        files: 0,
    };
    reader.file("nginx.conf", text)
}

struct Reader {
    folder: PathBuf,
    /// Files that are being read, each included by the one before.
    open: Vec<PathBuf>,
    directives: usize,
    files: usize,
}

/// A word, or a sign.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    End,
    Open,
    Close,
}

type Tokens = std::iter::Peekable<std::vec::IntoIter<(usize, usize, Token)>>;

impl Reader {
    fn file(&mut self, file: &str, text: &str) -> Result<Vec<Directive>, Wrong> {
        checked(file, text)?;
        let mut tokens = tokens(file, text)?.into_iter().peekable();
        let all = self.block(file, &mut tokens, 0)?;
        match tokens.next() {
            Some((line, column, _)) => Err(Wrong::at(file, line, column, "this } closes nothing")),
            None => Ok(all),
        }
    }

    fn block(
        &mut self,
        file: &str,
        tokens: &mut Tokens,
        depth: usize,
    ) -> Result<Vec<Directive>, Wrong> {
        let mut all = Vec::new();
        while let Some((line, column, token)) = tokens.peek().cloned() {
            let wrong = |why: &str| Wrong::at(file, line, column, why);
            let name = match token {
                Token::Close => break,
                Token::Word(name) => name,
                Token::End => return Err(wrong("this ; ends nothing")),
                Token::Open => return Err(wrong("this { has no name before it")),
            };
            tokens.next();
            self.directives += 1;
            if self.directives > MOST_DIRECTIVES {
                return Err(wrong("there are more than 200000 directives"));
            }
            let mut arguments = Vec::new();
            let block = loop {
                match tokens.next() {
                    Some((.., Token::Word(word))) => arguments.push(word),
                    Some((.., Token::End)) => break None,
                    Some((_, _, Token::Open)) if depth >= DEEPEST => {
                        return Err(wrong("blocks are nested more than 32 times"));
                    }
                    Some((_, _, Token::Open)) => {
                        let inside = self.block(file, tokens, depth + 1)?;
                        match tokens.next() {
                            Some((.., Token::Close)) => break Some(inside),
                            _ => return Err(wrong("this block is not closed")),
                        }
                    }
                    _ => return Err(wrong("this directive is not ended by ;")),
                }
            };
            if name == "include" && block.is_none() {
                let pattern = arguments.first().map(String::as_str).unwrap_or_default();
                all.extend(self.include(pattern).map_err(|mut error| {
                    if error.line == 0 && error.file.is_empty() {
                        error = wrong(&error.why);
                    }
                    error
                })?);
                continue;
            }
            all.push(Directive {
                file: file.to_owned(),
                line,
                name,
                arguments,
                block,
            });
        }
        Ok(all)
    }

    fn include(&mut self, pattern: &str) -> Result<Vec<Directive>, Wrong> {
        let wrong = |why: String| Wrong::at("", 0, 0, why);
        let whole = self.folder.join(pattern);
        let files = if pattern.contains(['*', '?']) {
            matching(&whole)
        } else {
            let optional = whole.file_name().and_then(|name| name.to_str());
            if optional.is_some_and(|name| OPTIONAL.contains(&name)) {
                // What they set is for nginx itself.
                return Ok(Vec::new());
            }
            vec![whole]
        };
        let mut all = Vec::new();
        for file in files {
            self.files += 1;
            if self.open.len() > DEEPEST_INCLUDE
                || self.open.contains(&file)
                || self.files > MOST_FILES
            {
                return Err(wrong(format!(
                    "{}: files include one another, or too many",
                    file.display()
                )));
            }
            let text = source::read(&file).map_err(|error| wrong(error.to_string()))?;
            self.open.push(file.clone());
            all.extend(self.file(&source::short(&file), &text)?);
            self.open.pop();
        }
        Ok(all)
    }
}

/// Files that a pattern with `*` and `?` names, in the order of their names.
fn matching(pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for part in pattern.components() {
        let text = part.as_os_str().to_string_lossy().into_owned();
        if !text.contains(['*', '?']) {
            found.iter_mut().for_each(|path| path.push(part));
            continue;
        }
        let mut next = Vec::new();
        for folder in found {
            let folder = if folder.as_os_str().is_empty() {
                PathBuf::from(".")
            } else {
                folder
            };
            let Ok(entries) = std::fs::read_dir(&folder) else {
                continue;
            };
            for entry in entries.flatten().take(MOST_FILES) {
                let name = entry.file_name().to_string_lossy().into_owned();
                let hidden = name.starts_with('.') && !text.starts_with('.');
                if !hidden && fits(text.as_bytes(), name.as_bytes()) {
                    next.push(folder.join(&name));
                }
            }
        }
        next.sort();
        found = next;
    }
    found.retain(|path| path.exists());
    found
}

/// Whether a name fits a pattern. Looks at each pair of places once.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    // Places of the pattern that are reached with what was read of the name.
    let mut reached = vec![false; pattern.len() + 1];
    if let Some(first) = reached.first_mut() {
        *first = true;
    }
    let stars = |reached: &mut Vec<bool>| {
        for (at, sign) in pattern.iter().enumerate() {
            if *sign == b'*'
                && reached.get(at) == Some(&true)
                && let Some(next) = reached.get_mut(at + 1)
            {
                *next = true;
            }
        }
    };
    stars(&mut reached);
    for byte in name {
        let mut next = vec![false; pattern.len() + 1];
        for (at, sign) in pattern.iter().enumerate() {
            if reached.get(at) != Some(&true) {
                continue;
            }
            let to = match sign {
                b'*' => at,
                b'?' => at + 1,
                sign if sign == byte => at + 1,
                _ => continue,
            };
            if let Some(place) = next.get_mut(to) {
                *place = true;
            }
        }
        stars(&mut next);
        reached = next;
    }
    reached.last() == Some(&true)
}

/// The words and signs of a text (ngx_conf_read_token).
fn tokens(file: &str, text: &str) -> Result<Vec<(usize, usize, Token)>, Wrong> {
    let mut all = Vec::new();
    let (mut line, mut column) = (1, 0);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        column += 1;
        let start = (line, column);
        match c {
            '\n' => (line, column) = (line + 1, 0),
            c if c.is_whitespace() => {}
            '#' => {
                while chars.peek().is_some_and(|c| *c != '\n') {
                    chars.next();
                }
            }
            ';' => all.push((start.0, start.1, Token::End)),
            '{' => all.push((start.0, start.1, Token::Open)),
            '}' => all.push((start.0, start.1, Token::Close)),
            first => {
                let quote = matches!(first, '"' | '\'').then_some(first);
                let mut word = String::new();
                let mut next = match quote {
                    Some(_) => None,
                    None => Some(first),
                };
                let mut closed = quote.is_none();
                loop {
                    let c = match next.take() {
                        Some(c) => c,
                        None => {
                            let ends = |c: &char| c.is_whitespace() || ";{".contains(*c);
                            let Some(c) = chars.peek().copied() else {
                                break;
                            };
                            if quote.is_none() && ends(&c) && !(c == '{' && word.ends_with('$')) {
                                break;
                            }
                            chars.next();
                            column += 1;
                            c
                        }
                    };
                    match c {
                        c if Some(c) == quote => {
                            closed = true;
                            break;
                        }
                        '\\' => {
                            column += 1;
                            match chars.next() {
                                Some(c @ ('"' | '\'' | '\\')) if c != '\\' || quote.is_some() => {
                                    word.push(c)
                                }
                                Some('t') => word.push('\t'),
                                Some('r') => word.push('\r'),
                                Some('n') => word.push('\n'),
                                Some('\n') => (line, column) = (line + 1, 0),
                                Some(c) => word.extend(['\\', c]),
                                None => word.push('\\'),
                            }
                        }
                        '\n' => {
                            (line, column) = (line + 1, 0);
                            word.push('\n');
                        }
                        c => word.push(c),
                    }
                }
                if !closed {
                    return Err(Wrong::at(
                        file,
                        start.0,
                        start.1,
                        "this quote is not closed",
                    ));
                }
                all.push((start.0, start.1, Token::Word(word)));
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_blocks() {
        let all =
            read_text("a 'b c' \"d\\\"e\" f\\ng; # x\nh ${i}j { k; }\nl ~ \\.php$ {}").unwrap();
        assert_eq!(all[0].arguments, ["b c", "d\"e", "f\ng"]);
        assert_eq!((all[1].line, all[1].word(0)), (2, "${i}j"));
        assert_eq!(all[1].inside()[0].name, "k");
        assert_eq!(all[2].arguments, ["~", "\\.php$"]);
    }

    #[test]
    fn what_is_wrong_has_its_place() {
        let place = |text| {
            let wrong = read_text(text).unwrap_err();
            (wrong.line, wrong.column)
        };
        assert_eq!(place("a {\n b;\n"), (1, 1));
        assert_eq!(place("a;\n }"), (2, 2));
        assert_eq!(place("a\n  'b;"), (2, 3));
        assert_eq!(place("a; b"), (1, 4));
        assert_eq!(place(&"a {".repeat(100)).0, 1);
    }

    #[test]
    fn files_include_one_another() {
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().join("nginx.conf");
        std::fs::write(&main, "include sites/*.conf;").unwrap();
        std::fs::create_dir(folder.path().join("sites")).unwrap();
        std::fs::write(folder.path().join("sites/b.conf"), "b;").unwrap();
        std::fs::write(folder.path().join("sites/a.conf"), "a;").unwrap();
        let names: Vec<String> = read(&main).unwrap().into_iter().map(|d| d.name).collect();
        assert_eq!(names, ["a", "b"]);
        std::fs::write(folder.path().join("sites/a.conf"), "\ninclude nginx.conf;").unwrap();
        let wrong = read(&main).unwrap_err();
        assert_eq!((wrong.file.as_str(), wrong.line), ("a.conf", 2));
        assert!(wrong.why.contains("include one another"), "{wrong}");
    }

    #[test]
    fn patterns_of_names() {
        let fits = |pattern: &str, name: &str| fits(pattern.as_bytes(), name.as_bytes());
        assert!(fits("*.conf", "a.conf") && !fits("*.conf", "a.conf~") && fits("a?c*", "abc"));
    }
}
