//! What a run cost.

use std::fmt;

use serde::Serialize;

/// Counts and times of one answer.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    /// Where it ran.
    pub device: String,
    /// Reading and moving the weights.
    pub load_seconds: f64,
    /// Tokens of the prompt that stand for pictures.
    pub image_tokens: usize,
    /// Tokens of the prompt.
    pub prefill_tokens: usize,
    /// From the prompt to the first token, the vision tower included.
    pub prefill_seconds: f64,
    /// Tokens of the answer.
    pub decode_tokens: usize,
    /// From the first token to the last.
    pub decode_seconds: f64,
    /// Most memory the process held, where the system tells it.
    pub peak_memory_bytes: Option<u64>,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = |tokens: usize, seconds: f64| {
            if seconds > 0.0 { tokens as f64 / seconds } else { 0.0 }
        };
        // The first token comes out of the prefill.
        let decode = rate(self.decode_tokens.saturating_sub(1), self.decode_seconds);
        write!(
            f,
            "{} image tokens · prefill {:.0} tokens/s · decode {decode:.1} tokens/s · ",
            self.image_tokens,
            rate(self.prefill_tokens, self.prefill_seconds),
        )?;
        match self.peak_memory_bytes {
            Some(bytes) => write!(f, "peak memory {:.0} MB", bytes as f64 / 1e6),
            None => write!(f, "peak memory unknown"),
        }
    }
}

/// The most memory this process has held, in bytes; known on Linux.
pub fn peak_memory() -> Option<u64> {
    status("VmHWM:")
}

/// The memory this process holds, in bytes; known on Linux.
pub fn resident_memory() -> Option<u64> {
    status("VmRSS:")
}

fn status(field: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_leave_the_prefills_token_out_of_the_decode() {
        let figures = Figures {
            device: "cpu".into(),
            load_seconds: 1.0,
            image_tokens: 7,
            prefill_tokens: 100,
            prefill_seconds: 0.5,
            decode_tokens: 11,
            decode_seconds: 2.0,
            peak_memory_bytes: Some(3_000_000),
        };
        let line = figures.to_string();
        assert_eq!(line, "7 image tokens · prefill 200 tokens/s · decode 5.0 tokens/s · peak memory 3 MB");
    }
}
