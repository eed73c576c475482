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

    /// Takes the bar away.
    pub fn finish(&self) {
        self.0.finish_and_clear();
    }
}
