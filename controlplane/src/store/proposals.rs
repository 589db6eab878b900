//! What was proposed here and is not settled yet, and who waits for it.
//!
//! An entry of the log bears a context, by which whoever proposed it knows it again. Half of that is drawn at each start,
//! so an entry of an earlier life is never taken for one of this.

use std::collections::BTreeMap;

use super::command::Command;

pub(super) struct Proposals<W> {
    waiting: BTreeMap<u64, Waiting<W>>,
    life: u64,
    last_number: u64,
}

pub(super) struct Waiting<W> {
    pub(super) proposed: Proposed,
    pub(super) ticket: W,
    /// The tick at which it is given up.
    pub(super) until: u64,
    /// The term that it was proposed in.
    pub(super) term: u64,
}

pub(super) enum Proposed {
    Command(Command),
    Members,
}

// === impl Proposals ===

impl<W> Proposals<W> {
    /// `life` must never have been another member's, nor this one's before.
    pub(super) fn new(life: u64) -> Proposals<W> {
        Proposals { waiting: BTreeMap::new(), life, last_number: 0 }
    }

    /// A number for a context that was not there before.
    pub(super) fn number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    pub(super) fn context(&self, number: u64) -> Vec<u8> {
        [self.life.to_be_bytes(), number.to_be_bytes()].concat()
    }

    /// The number of a context of this life.
    pub(super) fn number_of(&self, context: &[u8]) -> Option<u64> {
        let (life, number) = context.split_first_chunk::<8>()?;
        (*life == self.life.to_be_bytes()).then(|| number.try_into().ok().map(u64::from_be_bytes))?
    }

    pub(super) fn expect(&mut self, number: u64, waiting: Waiting<W>) {
        self.waiting.insert(number, waiting);
    }

    /// Who waits for an entry with this context, now that it is settled or was not taken.
    pub(super) fn take(&mut self, context: &[u8]) -> Option<Waiting<W>> {
        self.number_of(context).and_then(|number| self.waiting.remove(&number))
    }

    /// What an entry with this context has to tell other members. Nothing, if nobody waits for it any more.
    pub(super) fn data_of(&self, context: &[u8]) -> Vec<u8> {
        let waiting = self.number_of(context).and_then(|number| self.waiting.get(&number));
        match waiting.map(|waiting| &waiting.proposed) {
            Some(Proposed::Command(command)) => command.encode(),
            Some(Proposed::Members) | None => Vec::new(),
        }
    }

    /// Takes out those that have waited until now, oldest first.
    pub(super) fn late(&mut self, now: u64) -> Vec<Waiting<W>> {
        self.extract(|waiting| waiting.until <= now)
    }

    /// Takes out those that were proposed before a term, oldest first.
    pub(super) fn before(&mut self, term: u64) -> Vec<Waiting<W>> {
        self.extract(|waiting| waiting.term < term)
    }

    fn extract(&mut self, is_meant: impl Fn(&Waiting<W>) -> bool) -> Vec<Waiting<W>> {
        self.waiting.extract_if(.., |_, waiting| is_meant(waiting)).map(|(_, waiting)| waiting).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_known_by_the_context_of_this_life() {
        let (mut this, other) = (Proposals::new(7), Proposals::<&str>::new(8));
        let (first, second) = (this.number(), this.number());
        for (number, ticket, term) in [(first, "one", 3), (second, "two", 4)] {
            let proposed = Proposed::Command(Command::Compact(number));
            this.expect(number, Waiting { proposed, ticket, until: 10 * number, term });
        }
        assert!(this.take(&other.context(first)).is_none() && this.take(b"short").is_none());
        assert_eq!(this.data_of(&this.context(second)), Command::Compact(second).encode());
        assert!(this.late(9).is_empty() && this.before(3).is_empty());
        let tickets = |waiting: Vec<Waiting<&'static str>>| waiting.into_iter().map(|it| it.ticket).collect::<Vec<_>>();
        assert_eq!(tickets(this.late(10)), ["one"]);
        assert_eq!(tickets(this.before(5)), ["two"]);
        assert!(this.data_of(&this.context(second)).is_empty() && this.take(&this.context(second)).is_none());
    }
}
