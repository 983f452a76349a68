// SPDX-License-Identifier: MIT
//! What a block inherits of those around it, and steps in blocks that go on in one another.

use super::read::Directive;
use crate::import::flow::Effect;
use crate::import::flow::Step;

/// Blocks around a place, the outermost first.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope<'d>(Vec<&'d [Directive]>);

impl<'d> Scope<'d> {
    pub(super) fn inside(&self, block: &'d [Directive]) -> Self {
        let mut all = self.0.clone();
        all.push(block);
        Self(all)
    }

    /// A directive of which the innermost one counts.
    pub(super) fn one(&self, name: &str) -> Option<&'d Directive> {
        let mut levels = self.0.iter().rev();
        levels.find_map(|level| level.iter().rev().find(|d| d.name == name))
    }

    /// The first argument of such a directive.
    pub(super) fn word(&self, name: &str) -> Option<&'d str> {
        self.one(name).map(|directive| directive.word(0))
    }

    pub(super) fn is_on(&self, name: &str) -> bool {
        self.word(name) == Some("on")
    }

    /// Directives that are lists: those of the innermost block that has one.
    pub(super) fn all(&self, names: &[&str]) -> Vec<&'d Directive> {
        let of = |level: &&'d [Directive]| {
            let named = level.iter().filter(|d| names.contains(&d.name.as_str()));
            named.collect::<Vec<_>>()
        };
        let mut levels = self.0.iter().rev().map(of);
        levels.find(|all| !all.is_empty()).unwrap_or_default()
    }

    /// The innermost block.
    pub(super) fn own(&self) -> &'d [Directive] {
        self.0.last().copied().unwrap_or_default()
    }
}

/// Steps in blocks. A jump names a block, a later one.
#[derive(Default)]
pub(super) struct Blocks(Vec<Vec<Step>>);

impl Blocks {
    /// Makes a block. Its steps may come later.
    pub(super) fn open(&mut self) -> usize {
        self.0.push(Vec::new());
        self.0.len() - 1
    }

    pub(super) fn fill(&mut self, block: usize, steps: Vec<Step>) {
        if let Some(place) = self.0.get_mut(block) {
            *place = steps;
        }
    }

    /// All steps, one after the other.
    pub(super) fn link(self) -> Vec<Step> {
        let mut starts = Vec::new();
        let mut start = 0;
        for block in &self.0 {
            starts.push(start);
            start += block.len();
        }
        let mut all: Vec<Step> = self.0.into_iter().flatten().collect();
        for step in &mut all {
            if let Effect::Jump(to) = &mut step.effect {
                *to = starts.get(*to).copied().unwrap_or(usize::MAX);
            }
        }
        all
    }
}
