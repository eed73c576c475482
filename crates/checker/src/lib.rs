//! What the reward checker decides, without a browser: the page shows it, the worker runs it.
//!
//! ```text
//! file ── Source ── fields ── Columns ── Row ── Sheet ── verdict, label, filter, agreement, export
//! reply, problem, truth ── typeset ── pieces of text and of MathML from an allow-list
//! ```
//!
//! A [`Sheet`] holds the rows of one file in memory with a verdict and a person's label for each. Everything of a row is
//! text: nothing here evaluates it, fetches what it names or lets it become markup.
//!
//! Deliberately absent: the browser, storage, clocks (the caller says when a label was given), judges, a second definition of
//! a verdict, a key or a label, which are `wethink-reward`'s.

mod columns;
mod export;
mod filter;
mod math;
mod mathml;
mod pictures;
mod row;
mod second;
mod sheet;
mod source;
mod stats;
#[cfg(test)]
mod tests;
mod view;

pub use columns::{Columns, Role};
pub use export::{COLUMNS, Format};
pub use filter::{Differs, Filter, Given, Seek, Shown};
pub use math::{Piece, typeset};
pub use mathml::{ATTRIBUTES, ELEMENTS, Node};
pub use pictures::Names;
pub use row::Row;
pub use second::Imported;
pub use sheet::{Mark, Outcome, Setup, Sheet};
pub use source::{Broken, MAX_BYTES, Source, SourceError};
pub use stats::{Agreement, Stats};
pub use view::{Brief, Case, Detail, Judged, Reply, case};
