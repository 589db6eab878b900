//! Frames between members: who speaks, the files of a snapshot, questions and answers. Each is preceded by its length,
//! in four bytes.

use crate::store::group::Question;
use crate::store::kv::Error;
use bytes::Bytes;
use prost::Message;
use std::io;
use tokio_util::codec::LengthDelimitedCodec;

/// The largest frame: a message holds at most 1 MiB of entries, or one entry that is larger.
const FRAME_BYTES_MAX: usize = 16 << 20;
/// A file of a snapshot travels in pieces of this size.
pub(super) const PIECE_BYTES: usize = 256 << 10;

/// The first frame of a connection.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Hello {
    #[prost(fixed64, tag = "1")]
    pub(super) cluster: u64,
    #[prost(fixed64, tag = "2")]
    pub(super) from: u64,
    #[prost(fixed64, tag = "3")]
    pub(super) to: u64,
    /// A snapshot follows: its message, then its files. Otherwise messages, without end.
    #[prost(bool, tag = "4")]
    pub(super) is_snapshot: bool,
    /// Where whoever speaks is to be answered.
    #[prost(string, tag = "5")]
    pub(super) url: String,
    /// Questions follow, and are answered on this connection.
    #[prost(bool, tag = "6")]
    pub(super) is_asking: bool,
}

/// What a member asks the leader about a lease.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(super) struct Asks {
    /// Answers come in any order.
    #[prost(uint64, tag = "1")]
    pub(super) number: u64,
    #[prost(int64, tag = "2")]
    pub(super) lease: i64,
    /// It is to live on; otherwise it is looked at.
    #[prost(bool, tag = "3")]
    pub(super) renews: bool,
}

/// What the leader says.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Says {
    #[prost(uint64, tag = "1")]
    pub(super) number: u64,
    #[prost(uint64, tag = "2")]
    pub(super) seconds: u64,
    /// There is no such lease.
    #[prost(bool, tag = "3")]
    pub(super) is_gone: bool,
    /// Why it cannot say; empty: it can.
    #[prost(string, tag = "4")]
    pub(super) refusal: String,
}

/// What the other side says to a hello, and to a whole snapshot.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Answer {
    /// Why not; empty: all is well.
    #[prost(string, tag = "1")]
    pub(super) refusal: String,
}

/// Announces a file of a snapshot, whose pieces follow.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct File {
    /// Without a folder. Empty: that were all files.
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(uint64, tag = "2")]
    pub(super) bytes: u64,
}

pub(super) fn codec() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder().max_frame_length(FRAME_BYTES_MAX).new_codec()
}

pub(super) fn encode(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}

/// # Errors
/// The connection ended, or this is no such frame.
pub(super) fn decode<M: Message + Default>(frame: Option<io::Result<impl AsRef<[u8]>>>) -> io::Result<M> {
    let frame = frame.ok_or(io::ErrorKind::UnexpectedEof)??;
    M::decode(frame.as_ref()).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

// === impl Answer ===

impl Answer {
    pub(super) fn check(self) -> io::Result<()> {
        if self.refusal.is_empty() { Ok(()) } else { Err(io::Error::other(format!("it refuses: {}", self.refusal))) }
    }
}

// === impl Asks ===

impl Asks {
    pub(super) fn new(number: u64, question: Question) -> Asks {
        let (lease, renews) = match question {
            Question::Renew(lease) => (lease, true),
            Question::Left(lease) => (lease, false),
        };
        Asks { number, lease, renews }
    }

    pub(super) fn question(self) -> Question {
        if self.renews { Question::Renew(self.lease) } else { Question::Left(self.lease) }
    }
}

// === impl Says ===

impl Says {
    pub(super) fn new(number: u64, answer: Result<u64, Error>) -> Says {
        let says = Says { number, ..Says::default() };
        match answer {
            Ok(seconds) => Says { seconds, ..says },
            Err(Error::NoLease(_)) => Says { is_gone: true, ..says },
            Err(error) => Says { refusal: error.to_string(), ..says },
        }
    }

    /// What was asked about a lease.
    pub(super) fn answer(self, lease: i64) -> Result<u64, Error> {
        match self {
            Says { is_gone: true, .. } => Err(Error::NoLease(lease)),
            Says { refusal, .. } if !refusal.is_empty() => Err(Error::Unavailable(refusal)),
            Says { seconds, .. } => Ok(seconds),
        }
    }
}

// === impl File ===

impl File {
    /// A name that leads into another folder would write wherever the sender likes.
    pub(super) fn is_plain(&self) -> bool {
        !self.name.contains(['/', '\0']) && self.name != "." && self.name != ".."
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_their_folder() {
        let is_plain = |name: &str| File { name: name.to_owned(), bytes: 1 }.is_plain();
        assert!(is_plain("000012.sst") && is_plain("CURRENT"));
        assert!(!is_plain("../identity") && !is_plain("/etc/passwd") && !is_plain("..") && !is_plain("a\0b"));
    }

    #[test]
    fn questions_and_answers_travel() {
        for question in [Question::Renew(7), Question::Left(-7)] {
            let asks: Asks = decode(Some(Ok(encode(&Asks::new(3, question))))).unwrap();
            assert_eq!((asks.number, asks.question()), (3, question));
        }
        for answer in [Ok(60), Err(Error::NoLease(7))] {
            let says: Says = decode(Some(Ok(encode(&Says::new(3, answer.clone()))))).unwrap();
            assert_eq!((says.number, says.answer(7)), (3, answer));
        }
        let away = Says::new(3, Err(Error::Unavailable("it does not lead".into()))).answer(7);
        assert!(matches!(away, Err(Error::Unavailable(why)) if why.contains("it does not lead")));
    }

    #[test]
    fn what_is_no_frame_is_an_error() {
        let hello = Hello { cluster: 7, from: 1, to: 2, ..Hello::default() };
        let decoded = |bytes: &[u8]| decode::<Hello>(Some(Ok(bytes.to_vec())));
        assert_eq!(decoded(&encode(&hello)).unwrap(), hello);
        assert_eq!(decoded(b"\xff\xff").unwrap_err().kind(), io::ErrorKind::InvalidData);
        let ended = decode::<Hello>(None::<io::Result<Vec<u8>>>);
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
