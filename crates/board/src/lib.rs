//! What the scenes page decides: which models are at hand, what a person may change in a scene, what a thought says of it as
//! it streams, and who was right how often.
//!
//! Deliberately absent: tensors and the browser. The page links this and stays small.

pub mod board;
pub mod catalog;
pub mod tally;
pub mod trace;
