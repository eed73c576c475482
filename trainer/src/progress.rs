//! Progress on long work: a bar on a terminal, silence elsewhere.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar that counts bytes on standard error.
pub struct Bytes(ProgressBar);

/// Starts a bar; it shows itself only on a terminal.
pub fn bytes(what: &'static str) -> Bytes {
    let style = ProgressStyle::with_template("{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
    let bar = ProgressBar::new(0).with_message(what);
    Bytes(match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    })
}

impl Bytes {
    /// Shows how far the work is.
    pub fn at(&self, done: u64, total: u64) {
        self.0.set_length(total);
        self.0.set_position(done);
    }

    /// Lets `print` write lines that the bar does not overwrite.
    pub fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        self.0.suspend(print)
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.0.finish_and_clear();
    }
}

/// A bar that counts training steps on standard error.
pub struct Steps(ProgressBar);

/// Starts a bar at `done` of `total` steps; it shows itself only on a terminal.
pub fn steps(done: u64, total: u64) -> Steps {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} {eta}");
    let bar = ProgressBar::new(total).with_position(done).with_elapsed(std::time::Duration::ZERO);
    Steps(match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    })
}

impl Steps {
    /// Shows how far the run is.
    pub fn at(&self, step: u64, loss: f32, rate: f64, tokens_per_second: f64) {
        self.0.set_message(format!("loss {loss:.4} · rate {rate:.1e} · {tokens_per_second:.0} tokens/s ·"));
        self.0.set_position(step);
    }

    /// Shows how far a run of reinforcement learning is.
    pub fn at_reward(&self, step: u64, reward: f64, length: f64, tokens_per_second: f64) {
        let figures =
            format!("reward {reward:.3} · {length:.0} tokens a response · {tokens_per_second:.0} tokens/s ·");
        self.0.set_message(figures);
        self.0.set_position(step);
    }

    /// Says something above the bar, or simply says it where there is none.
    pub fn say(&self, text: &str) {
        self.0.suspend(|| eprintln!("{text}"));
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.0.finish_and_clear();
    }
}

/// A bar that counts rows on standard error.
pub struct Rows(ProgressBar);

/// Starts a bar over `total` rows; it shows itself only on a terminal.
pub fn rows(what: &'static str, total: u64) -> Rows {
    let style = ProgressStyle::with_template("{msg} {bar:30} {pos}/{len} {per_sec} {eta}");
    let bar = ProgressBar::new(total).with_message(what);
    Rows(match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    })
}

impl Rows {
    /// Shows how many rows are done.
    pub fn at(&self, done: u64) {
        self.0.set_position(done);
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.0.finish_and_clear();
    }
}

/// A bar that counts things on standard error.
pub struct Count(ProgressBar);

impl Count {
    /// Starts a bar; it shows itself only on a terminal.
    pub fn new(what: &'static str, total: u64) -> Self {
        let style = ProgressStyle::with_template("{msg} {bar:30} {pos}/{len} {per_sec} {eta}");
        let bar = ProgressBar::new(total).with_message(what);
        Self(match style {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        })
    }

    /// One more is done.
    pub fn step(&self) {
        self.0.inc(1);
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        self.0.finish_and_clear();
    }
}
