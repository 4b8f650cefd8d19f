//! The audit log (stub until merged).
/// stub
pub struct Pseudonyms;
impl Pseudonyms {
    /// stub
    pub fn all_for(&self, _s: &str, _d: &str, _k: &[u8]) -> Vec<String> {
        Vec::new()
    }
    /// stub
    pub fn all_for_subject(&self, _s: &[u8]) -> Vec<String> {
        Vec::new()
    }
}
