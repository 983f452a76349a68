// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A successor in the switch's place: it knows of connections what their records say.

use l7switch_engine::decisions;
use l7switch_engine::environment::Imported;
use l7switch_engine::environment::RECORD_MAX;
use l7switch_engine::environment::RECORD_WHOLE_MAX;
use l7switch_engine::flow::LegNumber;
use l7switch_engine::flow::Method;
use l7switch_engine::flow::State;
use l7switch_engine::record::Writer;

use super::Entry;
use super::Switch;
use super::UnackedMemory;
use super::Waiting;
use super::platform;
use super::rules::scheduled;
use super::stats::SAMPLES;

impl Switch {
    /// Puts a successor in the switch's place. Packets that wait are gone.
    pub fn restart(&mut self, now: u64) {
        self.note(|| "  switch: a successor".into());
        self.verdict("restart");
        let clock = now + self.base;
        let mut records = Vec::new();
        for entry in std::mem::take(&mut self.flows).into_iter().flatten() {
            let outstanding = entry.flow.outstanding();
            let leg = entry.flow.active().or(entry.flow.binding());
            if let Some(bound) = leg.and_then(|leg| entry.state.server(leg)) {
                for _ in 0..outstanding {
                    scheduled(&bound.server).finish();
                }
            }
            if entry.flow.state() != State::Dead {
                records.push((self.record(clock, &entry), entry.piece));
            }
        }
        self.spare.clear();
        self.by_client.clear();
        self.timers.clear();
        self.live = 0;
        {
            let shared = &mut *self.shared.borrow_mut();
            shared.stats.freed += shared.by_leg.len() as u64;
            shared.by_leg.clear();
            shared.decisions.fill(decisions::Entry::NONE);
        }
        for (record, piece) in records {
            self.adopt(now, &record, piece);
        }
        for id in 0..self.flows.len() {
            self.after(now, id);
        }
    }

    /// A connection's record.
    fn record(&self, clock: u64, entry: &Entry) -> Vec<u8> {
        let mut bytes = vec![0; RECORD_WHOLE_MAX];
        let mut writer = Writer::new(&mut bytes);
        entry
            .state
            .export(&entry.flow, &*self.rules, clock, &mut writer);
        let Some(len) = writer.finish() else {
            self.error(format!("a record is too long: {:?}", entry.flow));
            return Vec::new();
        };
        bytes.truncate(len);
        if !entry.state.has_unacked() {
            if len > RECORD_MAX {
                self.error(format!("a record of {len} bytes: {:?}", entry.flow));
            }
            let stats = &mut self.shared.borrow_mut().stats;
            stats.records += 1;
            if stats.samples.len() < SAMPLES {
                stats.samples.push(bytes.clone());
            }
            stats.record_bytes += len as u64;
            stats.longest_record = stats.longest_record.max(len as u64);
        }
        bytes
    }

    /// Goes on with a connection.
    fn adopt(&mut self, now: u64, record: &[u8], piece: usize) {
        let new = platform::State::new(Waiting::default(), UnackedMemory::default(), ());
        let read = Imported::read(record, now + self.base)
            .and_then(|imported| Ok((imported.flow, imported.state(new, &*self.rules)?)));
        let (flow, state) = match read {
            Ok(read) => read,
            Err(error) => {
                self.error(format!("{error}: {record:02x?}"));
                return;
            }
        };
        let id = self.flows.len();
        for leg in LegNumber::ALL {
            if let Some(of) = flow.leg(leg).filter(|of| of.method != Method::Front) {
                let shared = &mut *self.shared.borrow_mut();
                shared.by_leg.insert((of.peer, of.local), (id, leg));
                shared.stats.reserved += 1;
            }
        }
        let entry = Entry {
            client: flow.client,
            service: flow.service,
            flow,
            state,
            piece,
            seen: None,
            scheduled: u64::MAX,
        };
        // What a successor of the successor would be told is the same.
        let again = self.record(now + self.base, &entry);
        if again != record {
            self.error(format!(
                "a record is read otherwise than it was written:\n{record:02x?}\n{again:02x?}"
            ));
        }
        self.by_client.insert((entry.client, entry.service), id);
        self.flows.push(Some(entry));
        self.live += 1;
    }
}
