//! Who reports an object, who said what of it last, and when: what decides who may change it.
//!
//! Kept beside the objects, because no client sees it; shared between the objects of which the
//! same is true, which is most.

use std::sync::Arc;

use model::Moment;
use smallvec::SmallVec;

use crate::kind::{FieldId, FieldSet};

/// A reporter, for as long as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SourceNo(pub(crate) u32);

/// In [`Book::holders`]: nobody.
const NOBODY: SourceNo = SourceNo(u32::MAX);

/// A reporter lists the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claim {
    /// When the request was sent whose answer listed the object for the first time.
    pub(crate) since: Moment,
    pub(crate) source: SourceNo,
}

/// The API said what some fields are, and no later scrape has said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Said {
    at: Moment,
    fields: FieldSet,
}

/// Whether a reporter may say what a field is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It may.
    Yes,
    /// The API said so later than the scrape was sent: ask again with the next scrape.
    Later,
    /// A reporter with a newer claim says what it is.
    No,
}

/// What is known about who speaks of one object.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Book {
    /// By `since`: the newest last.
    claims: SmallVec<[Claim; 1]>,
    said: SmallVec<[Said; 1]>,
    /// When the API touched the object last.
    touched: Moment,
    /// By field: whose value it is. Empty while at most one reporter has ever claimed it.
    holders: Box<[SourceNo]>,
}

/// The book of the object in a slot, and how often somebody else wrote in it.
#[derive(Debug, Clone, Default)]
pub(crate) struct BookSlot {
    pub(crate) book: Arc<Book>,
    /// Changes with every write that a reporter has not made itself; a reporter that remembers
    /// another number says everything anew.
    pub(crate) epoch: u32,
}

// === impl Book ===

impl Book {
    /// Reporters that list the object, the newest claim last.
    pub(crate) fn claims(&self) -> &[Claim] {
        &self.claims
    }

    /// The claim of a reporter.
    pub(crate) fn claim_of(&self, source: SourceNo) -> Option<Claim> {
        self.claims.iter().find(|claim| claim.source == source).copied()
    }

    /// Whether `source` has the newest claim.
    pub(crate) fn is_newest(&self, source: SourceNo) -> bool {
        self.claims.last().is_some_and(|claim| claim.source == source)
    }

    /// When the API touched the object last.
    pub(crate) fn touched(&self) -> Moment {
        self.touched
    }

    /// The same claims, with nothing said of any field.
    pub(crate) fn without_fields(&self, n_fields: usize) -> Book {
        let several = self.claims.len() > 1;
        let holders = if several { vec![NOBODY; n_fields].into() } else { Box::default() };
        let said = SmallVec::new();
        Book { claims: self.claims.clone(), said, touched: self.touched, holders }
    }

    /// A reporter lists the object. `known` says, field by field, whether it has a value.
    pub(crate) fn add_claim(&mut self, claim: Claim, known: impl Iterator<Item = bool>) {
        if let (Some(only), true) = (self.claims.first(), self.holders.is_empty()) {
            let said = |id| self.said.iter().any(|said| said.fields.contains(id));
            let holder = |(at, is_known)| match is_known && !said(FieldId(at as u16)) {
                true => only.source,
                false => NOBODY,
            };
            self.holders = known.enumerate().map(holder).collect();
        }
        let at = self
            .claims
            .partition_point(|known| (known.since, known.source) < (claim.since, claim.source));
        self.claims.insert(at, claim);
    }

    /// A reporter no longer lists the object, whose kind has so many fields: what it said is
    /// nobody's now.
    pub(crate) fn remove_claim(&mut self, source: SourceNo, n_fields: usize) {
        if self.holders.is_empty() && self.claims.iter().any(|claim| claim.source == source) {
            self.holders = vec![NOBODY; n_fields].into();
        }
        self.claims.retain(|claim| claim.source != source);
        self.holders.iter_mut().filter(|holder| **holder == source).for_each(|h| *h = NOBODY);
    }

    /// Fields whose value is that of a reporter that no longer lists the object.
    pub(crate) fn orphans(&self) -> FieldSet {
        let numbered = self.holders.iter().enumerate();
        let orphans = numbered.filter(|(_, holder)| **holder == NOBODY);
        let orphans: FieldSet = orphans.map(|(at, _)| FieldId(at as u16)).collect();
        self.said.iter().fold(orphans, |orphans, said| orphans.without(said.fields))
    }

    /// The only reporter has said everything: there is no other whose words must be told apart.
    pub(crate) fn settle(&mut self) {
        if self.claims.len() <= 1 {
            self.holders = Box::default();
        }
    }

    /// Whether [`Book::settle`] would change something.
    pub(crate) fn is_unsettled(&self) -> bool {
        self.claims.len() <= 1 && !self.holders.is_empty()
    }

    /// Whether `source`, whose request was sent at `sent`, may say what a field is.
    pub(crate) fn may_say(&self, source: SourceNo, sent: Moment, field: FieldId) -> Verdict {
        if self.said.iter().any(|said| said.fields.contains(field) && said.at >= sent) {
            return Verdict::Later;
        }
        let place = |of: SourceNo| self.claims.iter().position(|claim| claim.source == of);
        let holder = self.holders.get(usize::from(field.0)).copied();
        let newer = |holder| place(holder).is_some_and(|theirs| Some(theirs) > place(source));
        match holder {
            Some(holder) if holder != source && newer(holder) => Verdict::No,
            _ => Verdict::Yes,
        }
    }

    /// What [`Book::scraped`] would change.
    pub(crate) fn would_change(&self, source: SourceNo, field: FieldId, is_null: bool) -> bool {
        let holder = if is_null { NOBODY } else { source };
        let other = self.holders.get(usize::from(field.0)).is_some_and(|known| *known != holder);
        other || self.said.iter().any(|said| said.fields.contains(field))
    }

    /// A reporter has said what a field is; that it is nothing, if `is_null`: then others may.
    pub(crate) fn scraped(&mut self, source: SourceNo, field: FieldId, is_null: bool) {
        if let Some(holder) = self.holders.get_mut(usize::from(field.0)) {
            *holder = if is_null { NOBODY } else { source };
        }
        self.unsay(FieldSet::from_iter([field]));
    }

    /// The API has said what some fields are.
    pub(crate) fn told(&mut self, at: Moment, fields: FieldSet) {
        self.touched = at;
        if fields.is_empty() {
            return;
        }
        self.unsay(fields);
        for (at, holder) in self.holders.iter_mut().enumerate() {
            if fields.contains(FieldId(at as u16)) {
                *holder = NOBODY;
            }
        }
        self.said.push(Said { at, fields });
    }

    fn unsay(&mut self, fields: FieldSet) {
        self.said.iter_mut().for_each(|said| said.fields = said.fields.without(fields));
        self.said.retain(|said| !said.fields.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: SourceNo = SourceNo(0);
    const B: SourceNo = SourceNo(1);
    const STATE: FieldId = FieldId(0);
    const CPU: FieldId = FieldId(1);

    fn claimed(claims: &[(SourceNo, u64)]) -> Book {
        let mut book = Book::default();
        for (source, since) in claims {
            let known = [true, true].into_iter();
            book.add_claim(Claim { since: Moment(*since), source: *source }, known);
        }
        book
    }

    #[track_caller]
    fn check(book: &Book, source: SourceNo, sent: u64, field: FieldId, want: Verdict) {
        assert_eq!(book.may_say(source, Moment(sent), field), want);
    }

    #[test]
    fn a_scrape_that_was_under_way_when_the_api_spoke_has_to_wait() {
        let mut book = claimed(&[(A, 1)]);
        book.told(Moment(10), FieldSet::from_iter([STATE]));
        check(&book, A, 9, STATE, Verdict::Later);
        check(&book, A, 10, STATE, Verdict::Later);
        check(&book, A, 11, STATE, Verdict::Yes);
        check(&book, A, 9, CPU, Verdict::Yes);
        book.scraped(A, STATE, false);
        check(&book, A, 9, STATE, Verdict::Yes);
    }

    #[test]
    fn the_newest_claim_wins_whoever_scrapes_last() {
        let mut book = claimed(&[(A, 1), (B, 5)]);
        book.scraped(B, STATE, false);
        check(&book, A, 20, STATE, Verdict::No);
        check(&book, B, 19, STATE, Verdict::Yes);
        check(&book, A, 20, CPU, Verdict::Yes);
        assert!(book.is_newest(B) && !book.is_newest(A));
    }

    #[test]
    fn an_old_reporter_may_speak_again_when_the_new_one_is_gone_or_silent() {
        let mut book = claimed(&[(A, 1), (B, 5)]);
        book.scraped(B, STATE, false);
        book.scraped(B, STATE, true);
        check(&book, A, 20, STATE, Verdict::Yes);
        book.scraped(B, STATE, false);
        book.remove_claim(B, 2);
        check(&book, A, 20, STATE, Verdict::Yes);
        assert!(book.orphans().contains(STATE));
        book.scraped(A, STATE, false);
        assert!(!book.orphans().contains(STATE));
    }

    #[test]
    fn later_words_of_the_api_replace_earlier_ones_field_by_field() {
        let mut book = claimed(&[(A, 1)]);
        book.told(Moment(10), FieldSet::from_iter([STATE, CPU]));
        book.told(Moment(20), FieldSet::from_iter([STATE]));
        check(&book, A, 15, STATE, Verdict::Later);
        check(&book, A, 15, CPU, Verdict::Yes);
        assert_eq!(book.said.len(), 2);
        assert_eq!(book.touched(), Moment(20));
    }
}
