// SPDX-License-Identifier: MIT
//! A certificate that is ordered: the one that is shown now, if there is one, and when the next is ordered.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::SystemTime;

use arc_swap::ArcSwapOption;
use l7switch_admin_api::OrderStatus;
use l7switch_certificates::Pair;

use super::plan;
use super::plan::Chance;
use l7switch_certificates::state;
use l7switch_certificates::state::Folder;
use l7switch_certificates::state::Retry;
use l7switch_certificates::state::StateError;

/// A certificate that is ordered. It lives as long as the rules have it, over all their generations.
#[derive(Debug)]
pub struct Slot {
    /// Its names, in lower case, in the order of the rules.
    pub names: Vec<String>,
    pub(super) folder: Folder,
    path: PathBuf,
    chance: Chance,
    pair: ArcSwapOption<Pair>,
    /// Those for some of the names that are shown while there is none for all of them: the rules had other names before.
    stand_ins: Vec<Arc<Pair>>,
    progress: Mutex<Progress>,
}

/// How the orders go.
#[derive(Debug, Default)]
struct Progress {
    orders: u64,
    failures: u64,
    retry: Retry,
    /// Why the last order has failed; absent when it has not.
    error: Option<String>,
    /// The window in which the authority wants it to be renewed.
    window: Option<(SystemTime, SystemTime)>,
    /// When the authority is asked for the window.
    asked: Option<SystemTime>,
}

impl Slot {
    /// The certificate for these names, as the state folder has it.
    pub(super) fn open(
        folder: Folder,
        names: &[String],
        now: SystemTime,
    ) -> Result<Self, StateError> {
        let path = folder.certificate(names);
        let mut progress = Progress {
            retry: state::retry(&path, now),
            ..Progress::default()
        };
        let pair = match state::read_certificate(&path)? {
            Some(Ok(pair)) => Some(pair),
            Some(Err(why)) => {
                tracing::error!("a certificate is not used, and ordered anew: {why}");
                progress.error = Some(why);
                None
            }
            None => None,
        };
        let stand_ins = match &pair {
            Some(_) => Vec::new(),
            None => folder.with_names(names, now),
        };
        Ok(Self {
            stand_ins,
            names: names.to_vec(),
            folder,
            path,
            chance: Chance::draw(),
            pair: ArcSwapOption::from_pointee(pair),
            progress: Mutex::new(progress),
        })
    }

    /// The certificate that is shown now.
    pub fn pair(&self) -> Option<Arc<Pair>> {
        self.pair.load_full()
    }

    /// The certificate that is shown now to a client of this name. `None`: there is none that has it.
    pub fn pair_for(&self, name: Option<&str>) -> Option<Arc<Pair>> {
        let has = |pair: &&Arc<Pair>| {
            name.is_none_or(|name| pair.names.iter().any(|known| known == name))
        };
        self.pair()
            .or_else(|| self.stand_ins.iter().find(has).cloned())
    }

    /// What it is called in logs and metrics: its first name.
    pub fn label(&self) -> &str {
        self.names.first().map_or("", String::as_str)
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the next order is made.
    pub(super) fn due(&self) -> SystemTime {
        let progress = self.progress();
        let pair = self.pair.load();
        let validity = pair.as_ref().and_then(|pair| pair.validity);
        let wanted = match (validity, progress.window) {
            (Some(validity), Some(window)) => {
                plan::in_window(window, self.chance).min(plan::latest(validity))
            }
            (Some(validity), None) => plan::renewal(validity, self.chance),
            (None, _) => SystemTime::UNIX_EPOCH,
        };
        wanted.max(state::time(progress.retry.not_before))
    }

    /// When the authority is asked when to renew.
    pub(super) fn asked(&self) -> Option<SystemTime> {
        let is_there = self.pair.load().is_some();
        let asked = self.progress().asked.unwrap_or(SystemTime::UNIX_EPOCH);
        is_there.then_some(asked)
    }

    /// The authority has said when to renew, or nothing, and is asked again in this time.
    pub(super) fn is_told(
        &self,
        window: Option<(SystemTime, SystemTime)>,
        again: Duration,
        now: SystemTime,
    ) {
        let mut progress = self.progress();
        // What was said is good until something else is.
        if window.is_some() {
            progress.window = window;
        }
        progress.asked = now.checked_add(plan::asked_again(again));
    }

    /// The identifier of the certificate that an order replaces. After a failure none is named: it may be the reason.
    pub(super) fn replaced(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        let progress = self.progress();
        let is_known = progress.window.is_some() && progress.retry.failures == 0;
        is_known.then(|| self.identifier()).flatten()
    }

    /// The identifier of the certificate (RFC 9773, 4.1): authority's key and serial number.
    pub(super) fn identifier(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        let pair = self.pair.load();
        let leaf = pair.as_ref()?.certified.end_entity_cert().ok()?;
        l7switch_certificates::identifier(leaf)
    }

    /// Shows a certificate from now on, and keeps it.
    ///
    /// # Errors
    ///
    /// It is not what was ordered, or cannot be kept.
    pub(super) fn install(&self, key: &str, chain: &str, now: SystemTime) -> Result<(), String> {
        if chain.contains("PRIVATE KEY") {
            return Err("the authority has sent a private key".to_owned());
        }
        let pem = format!("{key}{chain}");
        let new = self.path.with_extension("ordered.pem");
        let pair = state::keep_certificate(&new, pem.as_bytes())
            .and_then(|()| state::read_certificate(&new))
            .map_err(|error| error.to_string());
        let pair = pair.and_then(|pair| pair.unwrap_or_else(|| Err("it is gone".to_owned())));
        let _ = std::fs::remove_file(&new);
        let mut pair = pair.map_err(|why| format!("the certificate cannot be used: {why}"))?;
        let lacking = self.names.iter().find(|name| !pair.names.contains(name));
        if let Some(name) = lacking {
            return Err(format!("the certificate is not for {name}"));
        }
        if pair.validity.is_none_or(|(_, to)| to <= now) {
            return Err("the certificate has expired already".to_owned());
        }
        state::keep_certificate(&self.path, pem.as_bytes()).map_err(|error| error.to_string())?;
        pair.rules.cert.clone_from(&self.path);
        pair.rules.key.clone_from(&self.path);
        self.pair.store(Some(Arc::new(pair)));
        let mut progress = self.progress();
        progress.orders = progress.orders.saturating_add(1);
        progress.error = None;
        progress.window = None;
        progress.asked = None;
        // An authority whose certificates are due at once is not asked without a pause.
        progress.retry = Retry {
            failures: 0,
            not_before: state::unix(now).saturating_add(plan::PAUSE.as_secs()),
        };
        state::keep_retry(&self.path, None).map_err(|error| error.to_string())
    }

    /// An order has failed: a pause is made, as long as the authority wants. Gives whether the reason is another than before.
    pub(super) fn fail(&self, why: &str, wanted: Option<Duration>, now: SystemTime) -> bool {
        let mut progress = self.progress();
        progress.failures = progress.failures.saturating_add(1);
        let failures = progress.retry.failures.saturating_add(1);
        let pause = plan::pause(failures, wanted, Chance::draw());
        progress.retry = Retry {
            failures,
            not_before: state::unix(now).saturating_add(pause.as_secs()),
        };
        let is_new = progress.error.as_deref() != Some(why);
        progress.error = Some(why.to_owned());
        if let Err(error) = state::keep_retry(&self.path, Some(progress.retry))
            && is_new
        {
            tracing::error!("a pause between orders is not kept: {error}");
        }
        is_new
    }

    /// Takes the pause from its file again: whoever has removed the file does not want to wait.
    pub(super) fn look_again(&self, now: SystemTime) {
        let mut progress = self.progress();
        if progress.retry.failures > 0 {
            progress.retry = state::retry(&self.path, now);
        }
    }

    /// How it stands.
    pub fn status(&self) -> OrderStatus {
        let due = state::unix(self.due());
        let progress = self.progress();
        OrderStatus {
            orders: progress.orders,
            failures: progress.failures,
            next: due,
            error: progress.error.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use l7switch_rules::model;
    use rcgen::CertificateParams;
    use rcgen::KeyPair;
    use std::path::Path;

    fn folder(path: &Path) -> Folder {
        Folder::open(&model::Acme {
            directory: "https://acme.example/dir".to_owned(),
            contact: Vec::new(),
            state: path.join("state"),
            challenge: model::Challenge::Http,
            ca: None,
            profile: None,
            external_account: None,
        })
        .unwrap()
    }

    /// A key, and a certificate of it that is good between these years.
    fn made(names: &[&str], years: (i32, i32)) -> (String, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
        params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
        let cert = params.self_signed(&key).unwrap();
        (key.serialize_pem(), cert.pem())
    }

    /// The beginning of 2030.
    fn now() -> SystemTime {
        state::time(1_893_456_000)
    }

    fn seconds(time: SystemTime) -> u64 {
        time.duration_since(now()).unwrap().as_secs()
    }

    #[test]
    fn the_first_one_is_due_at_once_and_the_next_in_time() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = folder(temporary.path());
        let names = ["a.example".to_owned()];
        let slot = Slot::open(folder.clone(), &names, now()).unwrap();
        assert!(slot.pair().is_none() && slot.due() < now());
        let (key, chain) = made(&["a.example"], (2030, 2033));
        slot.install(&key, &chain, now()).unwrap();
        let year = 365 * 24 * 3600;
        let due = seconds(slot.due());
        assert!(due > year * 18 / 10 && due <= year * 2 + 24 * 3600, "{due}");
        // Another process finds it.
        let again = Slot::open(folder, &names, now()).unwrap();
        assert_eq!(again.pair().unwrap().names, names);
        assert!(seconds(again.due()) > year);
        // What the authority says is before what the switch reckons.
        let window = (state::time(1_893_456_100), state::time(1_893_456_200));
        slot.is_told(Some(window), Duration::ZERO, now());
        let due = seconds(slot.due());
        assert!((100..200).contains(&due), "{due}");
        assert_eq!(seconds(slot.asked().unwrap()), 3600);
        // One that is due already is not ordered before a minute has passed.
        let past = (state::time(5), state::time(6));
        slot.is_told(Some(past), Duration::MAX, now());
        assert_eq!(seconds(slot.due()), 60);
    }

    #[test]
    fn failures_make_pauses_that_outlive_the_process() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = folder(temporary.path());
        let names = ["a.example".to_owned()];
        let slot = Slot::open(folder.clone(), &names, now()).unwrap();
        assert!(slot.fail("refused", None, now()));
        assert!(!slot.fail("refused", None, now()));
        assert!(slot.fail("down", None, now()));
        let due = seconds(slot.due());
        assert!((240..=300).contains(&due), "{due}");
        assert_eq!(slot.status().failures, 3);
        assert_eq!(slot.status().error.unwrap(), "down");
        let again = Slot::open(folder.clone(), &names, now()).unwrap();
        assert_eq!(seconds(again.due()), due);
        assert!(again.fail("down", Some(Duration::from_secs(7000)), now()));
        assert_eq!(seconds(again.due()), 7000);
        again.look_again(now());
        assert_eq!(seconds(again.due()), 7000);
        // Removed by hand.
        state::keep_retry(&again.path, None).unwrap();
        again.look_again(now());
        assert!(again.due() < now());
        again.fail("down", None, now());
        let (key, chain) = made(&["a.example"], (2030, 2033));
        again.install(&key, &chain, now()).unwrap();
        again.look_again(now());
        assert_eq!(again.status().error, None);
        let third = Slot::open(folder, &names, now()).unwrap();
        assert!(seconds(third.due()) > 24 * 3600);
    }

    #[test]
    fn a_name_keeps_its_certificate_until_the_one_with_more_names_comes() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = folder(temporary.path());
        let install = |name: &str, years| {
            let slot = Slot::open(folder.clone(), &[name.to_owned()], now()).unwrap();
            let (key, chain) = made(&[name], years);
            slot.install(&key, &chain, state::time(1_600_000_000))
                .unwrap();
        };
        install("a.example", (2030, 2033));
        install("b.example", (2020, 2029));
        install("c.example", (2030, 2033));
        let names = ["a.example", "b.example"].map(str::to_owned);
        let slot = Slot::open(folder.clone(), &names, now()).unwrap();
        let shown = |name| slot.pair_for(name).map(|pair| pair.names.clone());
        assert!(slot.pair().is_none() && slot.due() <= now());
        assert_eq!(shown(Some("a.example")).unwrap(), ["a.example"]);
        assert_eq!(shown(None).unwrap(), ["a.example"]);
        // It has expired.
        assert_eq!(shown(Some("b.example")), None);
        assert_eq!(shown(Some("c.example")), None);
        let (key, chain) = made(&["a.example", "b.example"], (2030, 2033));
        slot.install(&key, &chain, now()).unwrap();
        for name in [Some("a.example"), Some("b.example"), None] {
            assert_eq!(shown(name).unwrap(), names);
        }
    }

    #[test]
    fn what_was_not_ordered_is_not_shown() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = folder(temporary.path());
        let names = ["a.example".to_owned(), "b.example".to_owned()];
        let slot = Slot::open(folder.clone(), &names, now()).unwrap();
        let (key, chain) = made(&["a.example", "b.example"], (2030, 2033));
        let (_, other) = made(&["a.example", "b.example"], (2030, 2033));
        let (short_key, short) = made(&["a.example"], (2030, 2033));
        let (old_key, old) = made(&["a.example", "b.example"], (2020, 2030));
        for (key, chain, why) in [
            (&key, other, "the key does not belong to the certificate"),
            (&short_key, short, "not for b.example"),
            (&old_key, old, "expired already"),
            (&key, String::new(), "no certificate"),
            (&key, "x".repeat(5000), "no certificate"),
            (&key, format!("{key}{chain}"), "has sent a private key"),
        ] {
            let error = slot.install(key, &chain, now()).unwrap_err();
            assert!(error.contains(why), "{error}");
            assert!(slot.pair().is_none());
        }
        slot.install(&key, &chain, now()).unwrap();
        let before = slot.pair().unwrap();
        // What is there stays when the next one is bad.
        slot.install(&short_key, "", now()).unwrap_err();
        assert!(Arc::ptr_eq(&before, &slot.pair().unwrap()));
        assert!(Slot::open(folder, &names, now()).unwrap().pair().is_some());
    }
}
