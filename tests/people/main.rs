//! What people decide: holds, and the race between those who place them and a run at full speed; on every kind of store.

mod holds;
mod office;
mod race;
#[path = "../servers/mod.rs"]
mod servers;
