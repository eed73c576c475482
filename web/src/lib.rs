//! The browser toolkit: what its programs share and what needs no browser to be tested.
//!
//! The toolkit is three WebAssembly programs and a few JavaScript modules. `wethink-engine` runs in a worker and holds the
//! model; `wethink-rewards` runs in another and verifies; `wethink-page` is the page; `wethink.js` is what both the page and
//! other people's sites import. The JavaScript side (`web/js`) fetches files and passes messages; everything that decides
//! anything is here.
//!
//! Deliberately absent: threads, synchronous read-backs, any second definition of the model.

pub mod fit;
pub mod pace;
pub mod parts;
pub mod request;
pub mod tensors;
