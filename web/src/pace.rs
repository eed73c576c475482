//! How many tokens a device computes before it is waited for.
//!
//! A wait costs a millisecond or more whatever it brings, so a fast device gets many tokens at a time. But text that comes
//! in lumps is hard to read, and a person who stops an answer waits for the lump: so no more than a moment's worth.

/// What a lump may take: text flows at ten a second.
const MOMENT_MS: f64 = 100.0;

/// Tokens at most: beyond, a wait is too small a share to matter, and more is thrown away where an answer ends.
const MOST: usize = 16;

/// The number of tokens until the next wait, from what the last one took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    chosen: bool,
    tokens: usize,
}

impl Pace {
    /// A number that was chosen, else one that follows the device. The first reading brings the first token alone: whoever
    /// waits for an answer waits for that.
    pub fn new(chosen: Option<usize>) -> Self {
        Self { chosen: chosen.is_some(), tokens: chosen.unwrap_or(1).max(1) }
    }

    /// Tokens to compute until the next wait.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Takes note that `tokens` took `milliseconds`. What a prompt took is not to be told.
    pub fn took(&mut self, tokens: usize, milliseconds: f64) {
        if self.chosen {
            return;
        }
        let fits = tokens as f64 * MOMENT_MS / milliseconds.max(0.1);
        // A single token takes a whole wait, and a slow one may be chance: the number doubles at most.
        self.tokens = (fits as usize).clamp(1, MOST.min(2 * self.tokens));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers of tokens on a device that takes `token` milliseconds for each and `wait` for every reading.
    fn numbers(token: f64, wait: f64) -> Vec<usize> {
        let mut pace = Pace::new(None);
        let reading = |_| {
            let tokens = pace.tokens();
            pace.took(tokens, wait + token * tokens as f64);
            tokens
        };
        (0..8).map(reading).collect()
    }

    #[test]
    fn a_fast_device_is_waited_for_seldom_and_a_slow_one_for_every_token() {
        assert_eq!(numbers(1.0, 2.0), [1, 2, 4, 8, 16, 16, 16, 16]);
        assert_eq!(numbers(25.0, 5.0), [1, 2, 3, 3, 3, 3, 3, 3]);
        assert_eq!(numbers(300.0, 2.0), [1; 8]);
        assert_eq!(numbers(0.0, 0.0).last(), Some(&MOST));
    }

    #[test]
    fn a_device_that_slows_down_is_followed_and_a_chosen_number_is_kept() {
        let mut pace = Pace::new(None);
        (0..6).for_each(|_| pace.took(pace.tokens(), 1.0));
        pace.took(16, 1600.0);
        assert_eq!(pace.tokens(), 1);
        let mut pace = Pace::new(Some(5));
        pace.took(5, 5000.0);
        assert_eq!((pace.tokens(), Pace::new(Some(0)).tokens()), (5, 1));
    }
}
