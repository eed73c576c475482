//! The budget of one verification. Steps, not time: the verdict is the same on every machine.

use std::cell::Cell;

/// Steps one verification may take. A step is some twenty nanoseconds of work; all of them are a few milliseconds.
pub const FUEL: u32 = 200_000;

/// The budget is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spent;

/// What is left.
pub(crate) struct Fuel(Cell<u32>);

impl Fuel {
    pub(crate) fn new() -> Self {
        Self(Cell::new(FUEL))
    }

    pub(crate) fn spend(&self, steps: u64) -> Result<(), Spent> {
        let left = self.0.get();
        match u32::try_from(steps).ok().and_then(|s| left.checked_sub(s)) {
            Some(rest) => {
                self.0.set(rest);
                Ok(())
            }
            None => {
                self.0.set(0);
                Err(Spent)
            }
        }
    }

    pub(crate) fn used(&self) -> u32 {
        FUEL - self.0.get()
    }
}
