//! The body of a Notice: which message went nowhere, and why.
//!
//! | octets | field |
//! |---|---|
//! | 0 | reason ([`NoticeReason`]) |
//! | 1 | kind of the address, as in the message header |
//! | 2..18 | the final destination of the offending message, as in the message header |
//! | 18.. | the start of the offending message, from its version octet on, at most [`MAX_OFFENDING_LEN`] bytes |

use std::fmt;

use super::{Final, MessageError};

/// The most bytes of the offending message that a Notice repeats: its header and 40 bytes of its body.
pub const MAX_OFFENDING_LEN: usize = 64;

/// Bytes before the offending message.
const FIXED_LEN: usize = 18;

/// Why a message went nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoticeReason {
    /// The switch does not know where the final destination is (1).
    FinalUnknown,
    /// A reason that this version does not know.
    Unknown(u8),
}

impl From<u8> for NoticeReason {
    fn from(number: u8) -> NoticeReason {
        match number {
            1 => NoticeReason::FinalUnknown,
            unknown => NoticeReason::Unknown(unknown),
        }
    }
}

impl From<NoticeReason> for u8 {
    fn from(reason: NoticeReason) -> u8 {
        match reason {
            NoticeReason::FinalUnknown => 1,
            NoticeReason::Unknown(number) => number,
        }
    }
}

impl fmt::Display for NoticeReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoticeReason::FinalUnknown => f.pad("final destination unknown"),
            NoticeReason::Unknown(number) => write!(f, "reason {number}"),
        }
    }
}

/// The body of a message of type [`Notice`](super::MessageType::Notice).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice<'a> {
    /// Why the message went nowhere.
    pub reason: NoticeReason,
    /// Where it was to go.
    pub final_destination: Final,
    /// The start of the offending message, from its version octet on. More than [`MAX_OFFENDING_LEN`] bytes are not sent.
    pub offending: &'a [u8],
}

impl<'a> Notice<'a> {
    /// Reads a body. What stands beyond [`MAX_OFFENDING_LEN`] is left for later versions and ignored.
    ///
    /// [`MessageError::TooShort`] below 18 bytes, [`MessageError::Kind`] if the address is of no known kind.
    pub fn decode(body: &'a [u8]) -> Result<Notice<'a>, MessageError> {
        let Some((fixed, rest)) = body.split_first_chunk::<FIXED_LEN>() else { return Err(MessageError::TooShort) };
        let [reason, kind, address @ ..] = fixed;
        let offending = &rest[..rest.len().min(MAX_OFFENDING_LEN)];
        Ok(Notice { reason: (*reason).into(), final_destination: Final::read(*kind, address)?, offending })
    }

    /// The body as bytes, 18 to 82.
    pub fn encode(&self) -> Vec<u8> {
        let offending = &self.offending[..self.offending.len().min(MAX_OFFENDING_LEN)];
        let mut body = Vec::with_capacity(FIXED_LEN + offending.len());
        body.extend_from_slice(&[self.reason.into(), self.final_destination.kind()]);
        body.extend_from_slice(&self.final_destination.octets());
        body.extend_from_slice(offending);
        body
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::any_final;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn literal_bytes() {
        let body = [1, 2, 10, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2];
        let notice = Notice::decode(&body).unwrap();
        let expected =
            Notice { reason: NoticeReason::FinalUnknown, final_destination: Final::Ipv4([10, 0, 0, 9].into()), offending: &[1, 0, 2] };
        assert_eq!(notice, expected);
        assert_eq!(notice.encode(), body);
        assert!(Notice::decode(&body[..18]).unwrap().offending.is_empty());
        assert_eq!(Notice::decode(&body[..17]), Err(MessageError::TooShort));
        let mut wrong = body;
        wrong[1] = 4;
        assert_eq!(Notice::decode(&wrong), Err(MessageError::Kind(4)));
    }

    #[test]
    fn the_offending_message_is_cut() {
        let long = [7; MAX_OFFENDING_LEN + 1];
        let mut notice =
            Notice { reason: NoticeReason::Unknown(200), final_destination: Final::Mac(crate::MacAddr::ZERO), offending: &long };
        assert_eq!(notice.encode().len(), 18 + 64);
        notice.offending = &long[1..];
        assert_eq!(notice.encode().len(), 18 + 64);
        let mut body = notice.encode();
        body.push(9);
        assert_eq!(Notice::decode(&body), Ok(notice));
    }

    proptest! {
        #[test]
        fn notices_round_trip(reason: u8, final_destination in any_final(), offending in prop::collection::vec(any::<u8>(), 0..=64)) {
            let notice = Notice { reason: reason.into(), final_destination, offending: &offending };
            let body = notice.encode();
            prop_assert_eq!(Notice::decode(&body), Ok(notice));
        }

        #[test]
        fn no_bytes_panic(body in prop::collection::vec(0u8..5, 0..100)) {
            if let Ok(notice) = Notice::decode(&body) {
                let again = notice.encode();
                prop_assert_eq!(Notice::decode(&again), Ok(notice));
            }
        }
    }
}
