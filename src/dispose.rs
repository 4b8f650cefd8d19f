//! The one door (stub).

/// Leave to destroy one batch of records, given out only by [`crate::dispose`] once the intent to do so is durable in the audit log.
#[derive(Debug)]
pub struct Permit {
    /// Index of the intent's entry in the audit log.
    intent: u64,
}

impl Permit {
    /// Index of the intent's entry in the audit log.
    pub fn intent(&self) -> u64 {
        self.intent
    }

    /// For the tests of stores, which have no log: not in the built program.
    #[cfg(test)]
    pub(crate) fn for_test() -> Self {
        Self { intent: 0 }
    }
}
