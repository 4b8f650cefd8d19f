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
    /// Hands the next item to `take`, and answers what that answers; an error when it is no item. Whoever reads many takes them so: an item is large,
    /// and is copied each time it changes hands.
    pub fn take_next<T>(&mut self, take: impl FnOnce(Item) -> T) -> Option<Result<T>> {
        if self.input.limit() == 0 {
            return None;
        }
        let error = match self.read(take) {
            Ok(Some(taken)) => return Some(Ok(taken)),
            Err(error) if error.kind() != ErrorKind::UnexpectedEof => {
                Error::with_source(Kind::Io, format!("{}: the plan cannot be read", self.shown), error)
            }
            // What ends before its end is no item, however often it is read.
            Ok(None) | Err(_) => Error::new(Kind::Refused, format!("{}: expected an item of a plan, found something else", self.shown)),
        };
        Some(Err(error))
    }

    /// Nothing when the next item is broken.
    fn read<T>(&mut self, take: impl FnOnce(Item) -> T) -> std::io::Result<Option<T>> {
        let lists = (&self.rules[..], &self.events[..], &self.approvals[..]);
        // Mostly the whole item was read already. What is wrong here is met again below.
        let ahead = self.input.fill_buf().unwrap_or_default();
        if let Some((length, rest)) = ahead.split_first_chunk()
            && let Some(body) = rest.get(..u32::from_le_bytes(*length) as usize)
        {
            let taken = self.coder.decode(body, lists, take);
            let read = length.len() + body.len();
            self.input.consume(read);
            return Ok(taken);
        }
        let mut length = [0; 4];
        self.input.read_exact(&mut length)?;
        let length = u32::from_le_bytes(length);
        if u64::from(length) > self.input.limit() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.body.resize(length as usize, 0);
        self.input.read_exact(&mut self.body)?;
        Ok(self.coder.decode(&self.body, lists, take))
    }
}

impl Iterator for Items {
    type Item = Result<Item>;

    fn next(&mut self) -> Option<Self::Item> {
        self.take_next(|item| item)
    }
}
