//! Random numbers by address: ChaCha8 keyed by (seed, index, attempt), so that a scene does not depend on how many others
//! are made, nor on their order.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

pub(crate) struct Draws(ChaCha8Rng);

impl Draws {
    pub fn at(seed: u64, index: u64, attempt: u64) -> Self {
        let mut key = *b"........................ scenes ";
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(&index.to_le_bytes());
        key[16..24].copy_from_slice(&attempt.to_le_bytes());
        Self(ChaCha8Rng::from_seed(key))
    }

    /// Any 32 bits.
    pub fn bits(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// A number in `0..n`, without bias (Lemire, "Fast random integer generation in an interval", 2019). `n` is not 0.
    pub fn below(&mut self, n: u32) -> u32 {
        loop {
            let wide = u64::from(self.bits()) * u64::from(n);
            if wide as u32 >= n.wrapping_neg() % n {
                return (wide >> 32) as u32;
            }
        }
    }

    /// A number from `low` to `high`, both included.
    pub fn between<T: TryFrom<i64> + Into<i64>>(&mut self, low: T, high: T) -> T {
        let (low, high): (i64, i64) = (low.into(), high.into());
        let value = low + i64::from(self.below((high - low + 1) as u32));
        T::try_from(value).unwrap_or_else(|_| unreachable!("between two values of the type"))
    }

    pub fn percent(&mut self, chance: u8) -> bool {
        self.below(100) < u32::from(chance)
    }

    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u32) as usize]
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u32 + 1) as usize);
        }
    }

    /// `n` of the items, in random order.
    pub fn some<T: Copy>(&mut self, items: &[T], n: usize) -> Vec<T> {
        let mut all = items.to_vec();
        self.shuffle(&mut all);
        all.truncate(n);
        all
    }
}
