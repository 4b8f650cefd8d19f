//! The audit log as evidence over the years, with the built program: anchors, witnesses, keys, the archive, and a disk that is full.

mod acts;
mod anchors;
mod archive;
mod estate;
mod full;
mod witness;
