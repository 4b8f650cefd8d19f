//! The `retentiond` program.
fn main() {}
