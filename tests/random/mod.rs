//! Random numbers that are the same in every run.

/// xorshift, from a seed that is not 0.
pub struct Random(pub u64);

impl Random {
    /// One of `0 .. end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end
    }
}
