//! The log as evidence: what an outsider who has a copy of the log, the public key and a tool can find out, and what nobody can change unnoticed.

mod estate;
mod independent;
mod proofs;
mod replayed;
