//! What the scenes page decides: which models are at hand, what a person may change in a scene, what a thought says of it as
//! it streams, and who was right how often.

pub mod board;
pub mod catalog;
pub mod tally;
pub mod trace;
