// SPDX-License-Identifier: MIT
//! The record of what was measured: docs/measurements/guest.json.

use std::fs;
use std::path::Path;

use l7switch_qemu_tests::error::Doing as _;
use l7switch_qemu_tests::error::Error;
use l7switch_qemu_tests::error::Result;
use serde::Deserialize;
use serde::Serialize;

use super::contender::Contender;
use super::median::median;

/// A contender's price of a case.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// Who.
    pub contender: Contender,
    /// The case's name.
    pub case: String,
    /// Requests per virtual second.
    pub rate: f64,
    /// Instructions per request over `direct`.
    pub added: f64,
    /// The kernel's release.
    pub kernel: String,
    /// The contender's version.
    pub version: String,
}

/// All that was measured last.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Record {
    entries: Vec<Entry>,
}

impl Record {
    /// The middle one of each contender's rates in each case.
    pub(crate) fn of_medians(entries: &[Entry]) -> Self {
        let mut record = Self::default();
        for entry in entries {
            let same = entries
                .iter()
                .filter(|other| (other.contender, &other.case) == (entry.contender, &entry.case));
            record.put(Entry {
                rate: median(same.map(|other| other.rate)),
                ..entry.clone()
            });
        }
        record
    }

    /// Reads it; an empty one where there is none.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read, or is no record.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = fs::read_to_string(path).doing_with("read", path)?;
        serde_json::from_str(&text)
            .map_err(|error| Error::Message(format!("{}: {error}", path.display())))
    }

    /// Writes it, an entry a line.
    ///
    /// # Errors
    ///
    /// Where the file cannot be written.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let mut lines = Vec::new();
        for entry in &self.entries {
            let line = serde_json::to_string(entry);
            lines.push(line.map_err(|error| Error::Message(error.to_string()))?);
        }
        let text = format!("[\n{}\n]\n", lines.join(",\n"));
        fs::write(path, text).doing_with("write", path)
    }

    /// Puts an entry in the place of the one of the same contender and case. [`Self::compare`] is to be called after the
    /// last one.
    pub(crate) fn put(&mut self, entry: Entry) {
        self.entries
            .retain(|old| (old.contender, &old.case) != (entry.contender, &entry.case));
        self.entries.push(entry);
    }

    /// Sets what each entry adds to the direct way, and sorts by the order of these cases; others go.
    pub(crate) fn compare<'a>(&mut self, cases: impl Iterator<Item = &'a str>) {
        let mut sorted = Vec::new();
        for case in cases {
            let direct = self.find(Contender::Direct, case).map(Entry::instructions);
            let mut of_case: Vec<Entry> = self.of(case).cloned().collect();
            of_case.sort_by_key(|entry| entry.contender);
            for mut entry in of_case {
                let Some(direct) = direct else { continue };
                entry.added = (entry.instructions() - direct).round();
                sorted.push(entry);
            }
        }
        self.entries = sorted;
    }

    /// The entries of a case.
    pub(crate) fn of<'a>(&'a self, case: &'a str) -> impl Iterator<Item = &'a Entry> + use<'a> {
        self.entries.iter().filter(move |entry| entry.case == case)
    }

    /// The entry of a contender and a case.
    #[must_use]
    pub(crate) fn find(&self, contender: Contender, case: &str) -> Option<&Entry> {
        self.entries
            .iter()
            .find(|entry| entry.contender == contender && entry.case == case)
    }
}

impl Entry {
    /// Instructions per request, of client, switch and server together.
    #[must_use]
    pub(crate) fn instructions(&self) -> f64 {
        1e9 / self.rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(contender: Contender, case: &str, rate: f64) -> Entry {
        Entry {
            contender,
            case: case.to_owned(),
            rate,
            added: 0.0,
            kernel: "7.3".to_owned(),
            version: "1".to_owned(),
        }
    }

    #[test]
    fn of_several_boots_the_middle_one_counts() {
        let rates = [5_000.0, 1.0, 6_000.0];
        let mut entries = Vec::from(rates.map(|rate| entry(Contender::Nginx, "a", rate)));
        entries.push(entry(Contender::Direct, "a", 7_000.0));
        let record = Record::of_medians(&entries);
        let rate = |contender| record.find(contender, "a").unwrap().rate;
        assert_eq!(rate(Contender::Nginx), 5_000.0);
        assert_eq!(rate(Contender::Direct), 7_000.0);
    }

    #[test]
    fn what_is_measured_anew_takes_the_olds_place() {
        let mut record = Record::default();
        record.put(entry(Contender::Nginx, "a", 5_000.0));
        record.put(entry(Contender::Direct, "a", 20_000.0));
        record.put(entry(Contender::Nginx, "a", 10_000.0));
        record.put(entry(Contender::Nginx, "of old", 10_000.0));
        record.compare(["a", "b"].into_iter());
        assert_eq!(record.entries.len(), 2);
        assert_eq!(record.entries[0].contender, Contender::Direct);
        assert_eq!(record.find(Contender::Nginx, "a").unwrap().added, 50_000.0);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("guest.json");
        record.write(&path).unwrap();
        assert_eq!(Record::read(&path).unwrap(), record);
    }
}
