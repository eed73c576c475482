//! WeThink's dataset records and their containers, read as they lie and written back.
//!
//! ```text
//! file ── gzip? ── lines or list elements or CSV records ── Row ── WeThink, ShareGPT or EasyR1 JSON
//! image_path ── folder, zip or the parts of a split zip ── bytes of a picture
//! ```
//!
//! A [`Row`] is the record WeThink publishes: `problem`, `answer`, `category`, `abilities`, `refined_cot`, `image_path`,
//! `reward`. The values of the last and of `category` and `abilities` are not published, so they are read as they come;
//! what they mean is decided elsewhere. Readers stream: memory holds one row. Nothing that a file says ends a program:
//! every line gives a row or a [`Fault`] that names the field and the fix.
//!
//! Pictures are read in place. WeThink's companion archive is 140 GB in sixteen parts, `image.zip.part-aa` to `-ap`; it is
//! neither merged nor unpacked, so no name inside an archive is ever a path on the disk.
//!
//! Rows, JSON and CSV build for wasm32, without threads and files. Deliberately absent: decoding pictures, rewards,
//! tokens, network, the meaning of a reward's name.

#[cfg(not(target_arch = "wasm32"))]
mod archive;
#[cfg(all(test, not(target_arch = "wasm32")))]
mod archive_tests;
mod chunks;
mod csv_records;
#[cfg(not(target_arch = "wasm32"))]
mod directory;
mod fault;
mod formats;
#[cfg(not(target_arch = "wasm32"))]
mod index;
mod names;
mod one_or_many;
#[cfg(not(target_arch = "wasm32"))]
mod parts;
#[cfg(not(target_arch = "wasm32"))]
mod pictures;
mod records;
mod row;
mod thought;
#[cfg(not(target_arch = "wasm32"))]
mod writer;

#[cfg(not(target_arch = "wasm32"))]
pub use archive::{Archive, MAX_MEMBER, MAX_RATIO};
pub use chunks::MAX_LINE;
pub use fault::Fault;
pub use formats::Format;
pub use names::checked_name;
pub use one_or_many::OneOrMany;
#[cfg(not(target_arch = "wasm32"))]
pub use parts::{Cursor, Parts};
#[cfg(not(target_arch = "wasm32"))]
pub use pictures::{PictureError, Pictures};
#[cfg(not(target_arch = "wasm32"))]
pub use records::open;
pub use records::{Line, Records, Rows};
pub use row::{Part, Row};
#[cfg(not(target_arch = "wasm32"))]
pub use writer::Writer;
