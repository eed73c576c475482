//! Which operations ran, by name.

use std::collections::BTreeMap;

/// How often each kernel or composed body ran since the caller made this.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Launches(BTreeMap<&'static str, u64>);

impl Launches {
    /// Nothing has run.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts one run of `name`.
    pub fn count(&mut self, name: &'static str) {
        *self.0.entry(name).or_default() += 1;
    }

    /// Counts one run of `name`, whose result is `value`.
    pub(crate) fn counted<T>(&mut self, name: &'static str, value: T) -> T {
        self.count(name);
        value
    }

    /// How often `name` ran.
    pub fn of(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// Name and count of everything that ran, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.0.iter().map(|(&name, &count)| (name, count))
    }
}
