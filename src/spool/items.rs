//! The items of a plan, read from its file one by one.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Take};
use std::sync::Arc;

use super::item::Coder;
use crate::error::{Error, Kind, Result};
use crate::plan::{Approval, Item};
use crate::schedule::{ClassId, EventName};

/// Reads the items of a plan in order.
pub struct Items {
    pub(super) input: Take<BufReader<File>>,
    pub(super) rules: Vec<(ClassId, Arc<str>)>,
    pub(super) events: Vec<EventName>,
    pub(super) approvals: Vec<Arc<Approval>>,
    pub(super) shown: String,
    pub(super) coder: Coder,
    pub(super) body: Vec<u8>,
}

impl Items {
    /// The next item; nothing when it is broken.
    fn read(&mut self) -> std::io::Result<Option<Item>> {
        let lists = (&self.rules[..], &self.events[..], &self.approvals[..]);
        // Mostly the whole item was read already. What is wrong here is met again below.
        let ahead = self.input.fill_buf().unwrap_or_default();
        if let Some((length, rest)) = ahead.split_first_chunk()
            && let Some(body) = rest.get(..u32::from_le_bytes(*length) as usize)
        {
            let item = self.coder.decode(body, lists);
            let read = length.len() + body.len();
            self.input.consume(read);
            return Ok(item);
        }
        let mut length = [0; 4];
        self.input.read_exact(&mut length)?;
        let length = u32::from_le_bytes(length);
        if u64::from(length) > self.input.limit() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.body.resize(length as usize, 0);
        self.input.read_exact(&mut self.body)?;
        Ok(self.coder.decode(&self.body, lists))
    }
}

impl Iterator for Items {
    type Item = Result<Item>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.input.limit() == 0 {
            return None;
        }
        let error = match self.read() {
            Ok(Some(item)) => return Some(Ok(item)),
            Err(error) if error.kind() != ErrorKind::UnexpectedEof => {
                Error::with_source(Kind::Io, format!("{}: the plan cannot be read", self.shown), error)
            }
            // What ends before its end is no item, however often it is read.
            Ok(None) | Err(_) => Error::new(Kind::Refused, format!("{}: expected an item of a plan, found something else", self.shown)),
        };
        Some(Err(error))
    }
}
