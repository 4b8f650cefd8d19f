//! What is known without the lock: for verbs that only look, while the service, another command or nobody has the state open.
//!
//! Keys, holds and register are read as they stand; the register is a projection that may lag behind the log by what is under way at this moment, and is
//! not there before the first run. Nothing is written, and what an onlooker finds is no promise: whoever destroys asks again.

use std::sync::{Arc, RwLock};

use super::reviews::Reviews;
use super::{Edit, edit, formers};
use crate::assess::{Assessor, Formers};
use crate::audit::Pseudonyms;
use crate::clock::Today;
use crate::config::{Config, Dataset};
use crate::error::Result;
use crate::hold::Holds;
use crate::register::Register;

/// See the file's header.
pub struct Onlooker {
    /// The configuration.
    pub config: Arc<Config>,
    /// The day that counts as today.
    pub today: Today,
    /// The names of records and subjects in the log.
    pub pseudonyms: Arc<Pseudonyms>,
    /// The register, if there is one.
    pub register: Option<Register>,
    holds: Arc<RwLock<Holds>>,
    formers: Arc<Formers>,
}

impl Onlooker {
    /// Reads what there is.
    pub async fn open(config: Arc<Config>, today: Today) -> Result<Self> {
        let pseudonyms = Arc::new(Pseudonyms::open(&config.state.join("keys"))?);
        let register = Register::open_for_reading(&config.state).await?;
        let holds = match &register {
            Some(register) => Holds::new(register.holds().await?),
            None => Holds::default(),
        };
        let formers = Arc::new(formers(&config, register.as_ref(), today.instant()).await?);
        Ok(Self { config, today, pseudonyms, register, holds: Arc::new(RwLock::new(holds)), formers })
    }

    /// An assessor for one of the datasets.
    pub fn assessor(&self, dataset: &Arc<Dataset>) -> Assessor {
        let (holds, pseudonyms, formers) = (Arc::clone(&self.holds), Arc::clone(&self.pseudonyms), Arc::clone(&self.formers));
        Assessor::new(Arc::clone(&self.config), Arc::clone(dataset), self.today, holds, pseudonyms, formers)
            .with_register(self.register.clone())
    }

    /// An assessor that judges by this configuration, which may be another, as if it had been in force all along.
    pub fn assessor_of(&self, config: &Arc<Config>, dataset: &Arc<Dataset>) -> Assessor {
        let (holds, pseudonyms) = (Arc::clone(&self.holds), Arc::clone(&self.pseudonyms));
        Assessor::new(Arc::clone(config), Arc::clone(dataset), self.today, holds, pseudonyms, Arc::default())
    }

    /// Where review stands, if there is a register.
    pub fn reviews(&self) -> Option<Reviews<'_>> {
        let register = self.register.as_ref()?;
        Some(Reviews { config: &self.config, register, formers: &self.formers, now: self.today.instant() })
    }

    /// What waits through an edit, if anything may.
    pub fn edit(&self) -> Option<Edit> {
        edit(&self.config, &self.formers)
    }
}
