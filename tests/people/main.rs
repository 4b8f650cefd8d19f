//! What people decide: holds, requests for erasure, and the race between those who place holds and a run at full speed; on every kind of store.

mod answers;
mod asked;
mod erasure;
#[path = "../evidence/estate.rs"]
#[allow(dead_code)]
mod evidence;
mod holds;
mod office;
mod race;
#[path = "../servers/mod.rs"]
mod servers;
