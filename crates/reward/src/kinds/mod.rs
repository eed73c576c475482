//! The kinds other than mathematics, one file for each family.

pub(crate) mod anchor;
pub(crate) mod boxes;
pub(crate) mod choice;
pub(crate) mod edit;
pub(crate) mod format;
pub(crate) mod geometry;
pub(crate) mod number;
pub(crate) mod point;
pub(crate) mod text;
pub(crate) mod yes_no;
